"""[metrics]: an address that others can reach is meant to be."""

from __future__ import annotations

from pathlib import Path

import pytest
from portico.config.document import parse_document
from portico.config.load import understand
from portico.config.settings import Portico
from portico.errors import SettingsError

from tests.least import LEAST


def settings(metrics: str) -> Portico:
    return understand(parse_document("portico.toml", f"{LEAST}\n[metrics]\n{metrics}\n"), Path("/")).settings


@pytest.mark.parametrize("address", ["localhost:9110", "127.0.0.1:0", "[::1]:9110", "unix:/run/portico/metrics"])
def test_an_address_of_this_machine_alone_needs_nothing_more(address: str) -> None:
    assert settings(f'address = "{address}"').metrics.address == address


@pytest.mark.parametrize("address", ["0.0.0.0:9110", "[::]:9110", "192.0.2.1:9110", "metrics.example.org:9110"])
def test_one_that_others_can_reach_must_be_called_public(address: str) -> None:
    assert settings(f'address = "{address}"\npublic = true').metrics.public
    with pytest.raises(SettingsError) as refused:
        settings(f'address = "{address}"')
    (problem,) = refused.value.problems
    assert problem.startswith("portico.toml:")
    assert "metrics.address" in problem
    assert "public = true" in problem


def test_what_is_no_address_is_said_with_its_place_also_beside_other_mistakes() -> None:
    with pytest.raises(SettingsError) as refused:
        settings('address = "9110"\n[workers]\ncount = 0')
    assert [problem for problem in refused.value.problems if "metrics.address" in problem and "host:port" in problem]
    assert len(refused.value.problems) == 2


def test_it_is_off_unless_somebody_asks_for_it() -> None:
    assert settings("").metrics.address is None
