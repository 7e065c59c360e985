"""What was shown stays as it was shown when the plugin that wanted it so is gone (RFC 9051 2.3.1.1)."""

from __future__ import annotations

from portico.ledger.ledger import SqliteLedger
from portico.ledger.safe import SafeLedger
from portico.session.annotations.annotation import Mailbox
from portico.testing import Correspondence

from tests.session.imap.test_annotated import BLOCK, LOOK, SELECT, STRUCTURE, Annotates


def signed_in(plugin: object | None, ledger: SqliteLedger | SafeLedger) -> Correspondence:
    session = Correspondence(plugin)
    session.session.context.ledger = ledger
    session.sign_in()
    return session


def test_without_the_plugin_an_annotated_message_stays_and_no_other_becomes_one() -> None:
    ledger = SqliteLedger()
    with signed_in(Annotates(), ledger) as session:
        session.play(
            f"{SELECT}\nC: a2 FETCH 1:3 RFC822.SIZE\n{LOOK}\nto S: a2 FETCH 1:3 RFC822.SIZE\nS: * 2 FETCH (RFC822.SIZE 200)\n"
            f"to C: * 2 FETCH (RFC822.SIZE {200 + BLOCK})\nS: a2 OK done"
        )
    with signed_in(None, ledger) as session:
        assert session.mode == "watch"
        session.play(
            f"""
            C: a1 SELECT INBOX
            S: * 4 EXISTS
            S: * OK [UIDVALIDITY 9] UIDs valid
            S: a1 OK [READ-WRITE] done

            C: a2 FETCH 2:4 RFC822.SIZE
            to S: portico2 SEARCH UID 20
            S: * SEARCH 2
            to nobody
            S: portico2 OK done
            to S: portico2 FETCH 2 (UID)
            S: * 2 FETCH (UID 20)
            to nobody
            S: portico2 OK done
            to S: portico2 SEARCH UID 31:*
            S: * SEARCH 4
            to nobody
            S: portico2 OK done
            to S: portico2 FETCH 4:4 (UID BODYSTRUCTURE)
            S: * 4 FETCH (UID 31 BODYSTRUCTURE {STRUCTURE})
            to nobody
            S: portico2 OK done
            to S: a2 FETCH 2:4 RFC822.SIZE
            S: * 2 FETCH (RFC822.SIZE 200)
            S: * 4 FETCH (RFC822.SIZE 200)
            to C: * 2 FETCH (RFC822.SIZE {200 + BLOCK})
            to C: * 4 FETCH (RFC822.SIZE 200)
            S: a2 OK done
            """
        )
    assert ledger.known(Mailbox("here/main/alice", "INBOX", 9)).watermark == 31  # with the plugin again it stays as it is


def test_who_has_never_been_shown_anything_has_a_tunnel() -> None:
    ledger = SqliteLedger()
    ledger.judged(Mailbox("main/bob", "INBOX", 9), 40, {})
    with signed_in(None, ledger) as session:
        assert session.mode == "tunnel"
