"""A plugin that transforms messages, a mailbox with one that it wants, and what is then said about it: the letters that tests begin with."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from portico.ledger.ledger import SqliteLedger
from portico.plugin import Interests, Outline, Session, hookimpl
from portico.session.events import CLIENT, MAIN
from portico.testing import Correspondence
from portico.wire.fetch import ranges_of

PLAIN = '("text" "plain" NIL NIL NIL "7bit" 9 1)'
ORIGINAL = b"Subject: buy\r\n\r\nsecret\r\n"
SHOWN = b"Subject: buy\r\nX-Scan: yes\r\n\r\nTaken out.\r\n"
TOLD = '("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 12 1 NIL NIL NIL NIL)'
BODY = '("text" "plain" ("charset" "us-ascii") NIL NIL "7bit" 12 1)'
ENVELOPE = '(NIL "buy" NIL NIL NIL NIL NIL NIL NIL NIL)'
CHUNK = 64 * 1024


class Scans:
    """Takes the text out of messages about buying."""

    portico_interests = ("transforms",)
    types: Sequence[str] = ()
    result: bytes | None = SHOWN

    def __init__(self) -> None:
        self.asked: list[bytes] = []

    @hookimpl
    def session_opened(self) -> Interests:
        return Interests(transformer=self)

    def wants(self, session: Session, outline: Outline) -> bool:
        return outline.subject == "buy"

    def transform(self, session: Session, outline: Outline, message: bytes) -> bytes | None:
        self.asked.append(message)
        return self.result


SELECT = """
C: a1 SELECT INBOX
S: * 3 EXISTS
S: * OK [UIDVALIDITY 9] UIDs valid
S: * OK [UIDNEXT 31] next
S: a1 OK [READ-WRITE] done
"""


def look(command: int = 2, size: int = len(ORIGINAL)) -> str:
    return f"""
    to S: portico{command} FETCH 1:3 (UID BODYSTRUCTURE)
    S: * 1 FETCH (UID 10 BODYSTRUCTURE {PLAIN})
    to nobody
    S: * 2 FETCH (UID 20 BODYSTRUCTURE {PLAIN})
    to nobody
    S: * 3 FETCH (UID 30 BODYSTRUCTURE {PLAIN})
    to nobody
    S: portico{command} OK done
    to S: portico{command} FETCH 1:3 (UID RFC822.SIZE ENVELOPE)
    S: * 1 FETCH (UID 10 RFC822.SIZE 100 ENVELOPE (NIL "Lunch" NIL NIL NIL NIL NIL NIL NIL NIL))
    to nobody
    S: * 2 FETCH (UID 20 RFC822.SIZE {size} ENVELOPE (NIL "buy" NIL NIL NIL NIL NIL NIL NIL NIL))
    to nobody
    S: * 3 FETCH (UID 30 RFC822.SIZE 100 ENVELOPE (NIL "Tea" NIL NIL NIL NIL NIL NIL NIL NIL))
    to nobody
    S: portico{command} OK done
    """


def read(command: int = 2) -> str:
    return f"""
    to S: portico{command} FETCH 2 (BODY.PEEK[]<0.{CHUNK}>)
    S: * 2 FETCH (UID 20 BODY[]<0> {{{len(ORIGINAL)}}}
    to nobody
    S: Subject: buy
    to nobody
    S:
    to nobody
    S: secret
    to nobody
    S: )
    to nobody
    S: portico{command} OK done
    """


def begun(plugin: object, ledger: SqliteLedger | None = None, most: int = 0) -> Correspondence:
    session = Correspondence(plugin, capabilities=b"BINARY SORT CONDSTORE SEARCHRES PREVIEW")
    context = session.session.context
    context.ledger = ledger or context.ledger
    context.transform = most or context.transform
    assert b"PREVIEW" not in session.sign_in()
    return session


def listed(session: Correspondence, cut: int = 0) -> None:
    """The client lists the mailbox for the first time."""
    session.play(
        f"""
        {SELECT}
        C: a2 FETCH 1:* (UID RFC822.SIZE)
        {look()}
        {read()}
        to S: portico2 FETCH 2 (UID RFC822.SIZE)
        S: * 2 FETCH (UID 20 RFC822.SIZE {len(ORIGINAL)})
        to nobody
        S: portico2 OK done
        to C: * 2 FETCH (UID 20 RFC822.SIZE {len(SHOWN)})
        to S: a2 FETCH 1,3 (UID RFC822.SIZE)
        S: * 1 FETCH (UID 10 RFC822.SIZE 100)

        S: * 3 FETCH (UID 30 RFC822.SIZE 100)

        S: a2 OK done
        """,
        cut=cut,
    )


def many(
    session: Correspondence, command: bytes, server: Callable[[bytes], bytes], until: int = 1 << 30
) -> tuple[list[bytes], list[bytes]]:
    """What the client is told, letter by letter, and what the server is asked, until it has been asked so often."""
    told, asked = session.letter(CLIENT, command)
    tellings, askings = [told], []
    while asked and len(askings) < until:
        askings.append(asked)
        told, asked = session.letter(MAIN, server(asked))
        tellings.append(told)
    return tellings, askings


def bulky(command: bytes) -> bytes:
    """A server that has messages of 30,000 octets about buying, as many as are asked for."""
    tag, rest = command.split(b" ", 1)
    rest = rest.removeprefix(b"UID ").removeprefix(b"FETCH ")
    messages, items = rest.split(b" ", 1)
    answers = []
    for number in [number for low, high in ranges_of(messages, 0) for number in range(low, high + 1)]:
        told = b"UID %d" % (number + 1000)
        told += b" RFC822.SIZE 30000" * (b"SIZE" in items)
        told += b" BODYSTRUCTURE " + PLAIN.encode() if b"BODYSTRUCTURE" in items else b""
        told += b' ENVELOPE (NIL "buy" NIL NIL NIL NIL NIL NIL NIL NIL)' if b"ENVELOPE" in items else b""
        told += b" BODY[]<0> {30000}\r\n" + b"Subject: buy\r\n\r\n".ljust(29998, b"x") + b"\r\n" if b"PEEK" in items else b""
        answers.append(b"* %d FETCH (%b)\r\n" % (number, told))
    return b"".join(answers) + tag + b" OK done\r\n"


def small(command: bytes) -> bytes:
    """As `bulky`, with the message that the others have."""
    told = bulky(command).replace(b"SIZE 30000", b"SIZE %d" % len(ORIGINAL))
    head, literal, rest = told.partition(b"{30000}\r\n")
    return head + b"{%d}\r\n" % len(ORIGINAL) + ORIGINAL + rest[30000:] if literal else told
