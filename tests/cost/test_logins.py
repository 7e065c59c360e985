"""What a login costs: the proxy's own functions from the greeting to the answer, without sockets and TLS.

The numbers are exact, whatever the machine: who needs more says here for what.
"""

from __future__ import annotations

from collections import Counter

import pytest
from portico.session.context import Protocol
from portico.testing import Correspondence

from tests.cost.counting import Calls

TIMES = 10


def _of_logins(protocol: Protocol) -> Counter[str]:
    calls = Calls()
    for time in range(TIMES + 1):
        with Correspondence(protocol=protocol) as session:
            if time:  # the first one fills what is remembered for all
                calls.begin()
            try:
                session.sign_in()
            finally:
                calls.end()
    return calls.python


@pytest.mark.parametrize(("protocol", "most"), [("imap", 130), ("pop3", 178)])
def test_a_login_is_no_more_functions_than(protocol: Protocol, most: int) -> None:
    counts = _of_logins(protocol)
    assert sum(counts.values()) / TIMES <= most, counts
    # A server's list is known from the sessions before: it is not taken apart again.
    assert not {name for name in counts if name in ("imap_allowed", "filter_imap", "filter_pop3")}
