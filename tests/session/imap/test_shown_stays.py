"""What a session has shown stays as it is to its end, whatever the ledger says meanwhile (RFC 9051 2.3.1.1)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Any

import pytest
from portico.ledger.ledger import SqliteLedger
from portico.ledger.safe import SafeLedger
from portico.session.annotations.annotation import Mailbox

from tests.session.imap.test_annotated import BLOCK, GROWN, LOOK, PLAIN, SELECT, STRUCTURE, Annotates
from tests.session.imap.test_nobody_left import signed_in

INBOX = Mailbox("here/main/alice", "INBOX", 9)


class Breaks(SqliteLedger):
    """Until it is broken it works."""

    broken = False

    def __getattribute__(self, name: str) -> Any:
        if name in ("known", "judged", "judged_one") and object.__getattribute__(self, "broken"):
            raise sqlite3.OperationalError("it is broken")
        return super().__getattribute__(name)


def another_session_takes_it_for_gone(ledger: Breaks) -> None:
    ledger.gone(INBOX, ["20"])


def another_session_was_contradicted(ledger: Breaks) -> None:
    ledger.forget(INBOX, "20")


def it_cannot_be_asked(ledger: Breaks) -> None:
    ledger.broken = True


@pytest.mark.parametrize("happens", [another_session_takes_it_for_gone, another_session_was_contradicted, it_cannot_be_asked])
def test_an_annotated_message_stays_so_when_the_ledger_knows_nothing_of_it_any_more(happens: Callable[[Breaks], None]) -> None:
    ledger = Breaks()
    with signed_in(Annotates(), SafeLedger(ledger, lambda _: None)) as session:
        session.play(f"{SELECT}\nC: a2 FETCH 1:* (UID RFC822.SIZE)\n{LOOK}\nto S: a2 FETCH 1:3 (UID RFC822.SIZE)\nS: a2 OK done")
        happens(ledger)
        session.play(
            f"""
            C: a3 NOOP
            S: * 4 EXISTS
            S: a3 OK done

            C: a4 FETCH 2:4 (UID RFC822.SIZE)
            to S: portico4 FETCH 4:4 (UID BODYSTRUCTURE)
            S: * 4 FETCH (UID 31 BODYSTRUCTURE {PLAIN})
            to nobody
            S: portico4 OK done
            to S: a4 FETCH 2:4 (UID RFC822.SIZE)
            S: * 2 FETCH (UID 20 RFC822.SIZE 200)
            to C: * 2 FETCH (UID 20 RFC822.SIZE {200 + BLOCK})
            S: * 4 FETCH (UID 31 RFC822.SIZE 5)
            S: a4 OK done

            C: a5 UID FETCH 20 BODYSTRUCTURE
            S: * 2 FETCH (UID 20 BODYSTRUCTURE {STRUCTURE})
            to C: * 2 FETCH (UID 20 BODYSTRUCTURE {GROWN})
            S: a5 OK done

            C: a6 SEARCH LARGER 210
            to S: a6 SEARCH (OR LARGER 210 UID 20)
            S: * SEARCH 2
            S: a6 OK done
            """
        )


def test_what_was_there_while_the_ledger_could_not_be_asked_stays_as_it_is_afterwards() -> None:
    ledger, now = Breaks(), [0.0]
    safe = SafeLedger(ledger, lambda _: None, lambda: now[0])
    ledger.broken = True
    with signed_in(Annotates(), safe) as session:
        session.play(
            f"""
            {SELECT}
            C: a2 FETCH 1:3 (UID RFC822.SIZE)
            S: * 2 FETCH (UID 20 RFC822.SIZE 200)
            S: a2 OK done
            """
        )
    ledger.broken, now[0] = False, 60.0
    with signed_in(Annotates(), safe) as session:
        session.play(
            f"""
            {SELECT}
            C: a2 FETCH 2:3 (UID RFC822.SIZE)
            to S: portico2 SEARCH UID 31:*
            S: * SEARCH 3
            to nobody
            S: portico2 OK done
            to S: portico2 FETCH 3:3 (UID BODYSTRUCTURE)
            S: * 3 FETCH (UID 30 BODYSTRUCTURE {PLAIN})
            to nobody
            S: portico2 OK done
            to S: a2 FETCH 2:3 (UID RFC822.SIZE)
            S: * 2 FETCH (UID 20 RFC822.SIZE 200)
            S: a2 OK done
            """
        )
    assert ledger.known(INBOX).watermark == 30
