"""What all tests share.

Rule of this file: nothing that costs time at import; each fixture says what it gives.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

PROJECT = Path(__file__).parent.parent

# `pytest` puts tests/ on the path, `python -m pytest` the project too; helpers are imported as tests.live.front.
if str(PROJECT) not in sys.path:
    sys.path.insert(0, str(PROJECT))

# How long an example takes says how busy the machine is. What must be quick has a test that counts its own processor time.
settings.register_profile("portico", deadline=None, suppress_health_check=[HealthCheck.too_slow])
# For the second and third Python (PORTICO_EXAMPLES=brief): what differs between them is found by fewer examples.
settings.register_profile("brief", parent=settings.get_profile("portico"), max_examples=25)
settings.load_profile(os.environ.get("PORTICO_EXAMPLES", "portico"))


@pytest.fixture(scope="session")
def project() -> Path:
    """The root of the repository."""
    return PROJECT


@pytest.fixture(scope="session")
def corpus() -> list[Path]:
    """The project's own small messages, in the order of their names; CRLF text."""
    return sorted((PROJECT / "tests" / "corpus").glob("*.eml"))
