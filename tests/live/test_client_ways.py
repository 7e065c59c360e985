"""Mail programs, each in its own way of fetching, put the same annotated message together.

Rule of this file: what a program sends is written down as it is known to send it, in its order and with its sizes, and played against a
real server through Portico with meeting links; it trusts what it was told before (sizes, structures), as the program does. What it ends
up with is compared with the whole, which another session asks for afterwards.
"""

from __future__ import annotations

import email
from base64 import encodebytes
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Final, NamedTuple

import pytest
from portico.testing import RunningProxy, running_proxy
from portico.testing.client import Dialogue
from portico.wire.bodystructure import Part, decoded
from portico_meeting_links import MeetingLinks

from tests.live.asking import Asking, asking, fetched, leaves, peeked, structure_in
from tests.live.conftest import Server
from tests.live.people import PASSWORD, People
from tests.live.test_consistency import LINKS
from tests.live.test_meeting_requests import LINK, expectations

pytestmark = pytest.mark.live

HEADERS: Final = "BODY.PEEK[HEADER.FIELDS (DATE FROM SENDER SUBJECT TO CC MESSAGE-ID REFERENCES CONTENT-TYPE REPLY-TO IN-REPLY-TO)]"


class Fetched(NamedTuple):
    """What a program has: of a message, a section."""

    number: int
    section: str
    octets: bytes


Way = Callable[[Asking, int], Iterator[Fetched]]


# -- the programs


def k9(one: Asking, messages: int) -> Iterator[Fetched]:
    """K-9 Mail: small messages whole; of large ones the structure, then what is to be shown, part by part. And the begin, as a preview."""
    one.ask("UID SEARCH 1:* NOT DELETED")
    one.ask(f"UID FETCH 1:{messages} (UID FLAGS)")
    for number in range(1, messages + 1):
        listed = fetched(one.ask(f"UID FETCH {number} (UID FLAGS INTERNALDATE RFC822.SIZE {HEADERS})"), number, ["RFC822.SIZE"])
        size = int(listed["RFC822.SIZE"] or b"")
        if size <= 32768:
            whole = fetched(one.ask(f"UID FETCH {number} (UID BODY.PEEK[])"), number, ["BODY[]"])["BODY[]"] or b""
            assert len(whole) == size
            yield Fetched(number, "", whole)
            continue
        structure = structure_in(fetched(one.ask(f"UID FETCH {number} (UID FLAGS BODYSTRUCTURE)"), number, ["BODYSTRUCTURE"]))
        for part in shown(structure):
            octets = one.fetch(number, f"BODY[{part.number}]")[f"BODY[{part.number}]"] or b""
            assert len(octets) == part.octets
            yield Fetched(number, part.number, octets)
        begin = fetched(one.ask(f"UID FETCH {number} (UID BODY.PEEK[]<0.32768>)"), number, ["BODY[]<0>"])["BODY[]<0>"] or b""
        assert len(begin) == 32768
        whole = one.fetch(number, "BODY[]")["BODY[]"] or b""
        assert whole.startswith(begin)
        yield Fetched(number, "", whole)


def javamail(one: Asking, messages: int) -> Iterator[Fetched]:
    """JavaMail: everything that is listed in one go; parts in pieces of 16 KiB, the last one cut to the size that the structure told."""
    items = ["ENVELOPE", "INTERNALDATE", "RFC822.SIZE", "FLAGS", "BODYSTRUCTURE"]
    answer = one.ask(f"FETCH 1:{messages} ({' '.join(items)})")
    for number in range(1, messages + 1):
        listed = fetched(answer, number, items)
        for part in shown(structure_in(listed)):
            yield Fetched(number, part.number, b"".join(_pieces(one, number, f"BODY[{part.number}]", 16384, part.octets)))
        yield Fetched(number, "", b"".join(_pieces(one, number, "BODY[]", 16384, int(listed["RFC822.SIZE"] or b""))))


def javamail_that_trusts_no_size(one: Asking, messages: int) -> Iterator[Fetched]:
    """The same with ``mail.imap.ignorebodystructuresize``: it goes on until it gets less than it asked for."""
    for number in range(1, messages + 1):
        structure = structure_in(one.fetch(number, "BODYSTRUCTURE"))
        for section in [*(part.number for part in shown(structure)), ""]:
            yield Fetched(number, section, b"".join(_pieces(one, number, f"BODY[{section}]", 16384, -1)))


def roundcube(one: Asking, messages: int) -> Iterator[Fetched]:
    """Roundcube: sorted and threaded lists by UID with structures; parts by number, decoded where the server can; the source as a file."""
    one.ask("UID SORT (ARRIVAL) US-ASCII ALL")
    one.ask("UID THREAD REFERENCES US-ASCII ALL UNDELETED")
    one.ask("UID SEARCH RETURN (ALL COUNT) UNSEEN")
    items = ["RFC822.SIZE", "FLAGS", "INTERNALDATE", "BODYSTRUCTURE"]
    answer = one.ask(f"UID FETCH 1:{messages} (UID {' '.join(items)} {HEADERS})")
    for number in range(1, messages + 1):
        listed = fetched(answer, number, items)
        for part in shown(structure_in(listed)):
            item, mime = f"BODY[{part.number}]", f"BODY[{part.number}.MIME]"
            octets = fetched(one.ask(f"UID FETCH {number} ({peeked(item)})"), number, [item])[item] or b""
            assert len(octets) == part.octets
            around = fetched(one.ask(f"UID FETCH {number} {peeked(mime)}"), number, [mime])[mime] or b""
            binary = f"BINARY[{part.number}]"
            if one.binary:
                told = fetched(one.ask(f"UID FETCH {number} ({peeked(binary)})"), number, [binary])[binary]
                assert told is None or told.replace(b"\r\n", b"\n") == decoded(octets, part.encoding).replace(b"\r\n", b"\n")
            yield Fetched(number, part.number, octets)
            yield Fetched(number, f"{part.number}.MIME", around)
        source = fetched(one.ask(f"UID FETCH {number} BODY.PEEK[]"), number, ["BODY[]"])["BODY[]"] or b""
        assert len(source) == int(listed["RFC822.SIZE"] or b"")
        yield Fetched(number, "", source)


def apple_mail(one: Asking, messages: int) -> Iterator[Fetched]:
    """Apple Mail: header and structure first, then several parts in one command, then the text in one; it sends ahead."""
    one.ask(f"UID FETCH 1:{messages} (INTERNALDATE UID RFC822.SIZE FLAGS {HEADERS})")
    for number in range(1, messages + 1):
        begun = fetched(one.ask(f"UID FETCH {number} (BODYSTRUCTURE BODY.PEEK[HEADER])"), number, ["BODYSTRUCTURE", "BODY[HEADER]"])
        parts = [f"BODY[{part.number}]" for part in shown(structure_in(begun))]
        one.imap.send(f"p UID FETCH {number} ({' '.join(map(peeked, parts))})\r\nw UID FETCH {number} (BODY.PEEK[TEXT])\r\n".encode())
        values = fetched(one.answer("p"), number, parts)
        text = fetched(one.answer("w"), number, ["BODY[TEXT]"])["BODY[TEXT]"] or b""
        for item in parts:
            yield Fetched(number, item[5:-1], values[item] or b"")
        yield Fetched(number, "", (begun["BODY[HEADER]"] or b"") + text)


def outlook(one: Asking, messages: int) -> Iterator[Fetched]:
    """Outlook: the sizes of all; then each whole in ranges up to its size, asked for one behind the other without waiting."""
    answer = one.ask(f"UID FETCH 1:{messages} (UID RFC822.SIZE FLAGS BODY.PEEK[HEADER])")
    for number in range(1, messages + 1):
        size = int(fetched(answer, number, ["RFC822.SIZE"])["RFC822.SIZE"] or b"")
        starts = range(0, size, 20480)
        for start in starts:
            one.imap.send(b"o%d UID FETCH %d (BODY.PEEK[]<%d.%d>)\r\n" % (start, number, start, min(20480, size - start)))
        pieces = [fetched(one.answer(f"o{start}"), number, [f"BODY[]<{start}>"])[f"BODY[]<{start}>"] or b"" for start in starts]
        assert [len(piece) for piece in pieces] == [min(20480, size - start) for start in starts]
        yield Fetched(number, "", b"".join(pieces))


def thunderbird(one: Asking, messages: int) -> Iterator[Fetched]:
    """Thunderbird: whole up to 96 KiB, else in growing ranges; a download that ends before RFC822.SIZE it throws away. It marks as read."""
    answer = one.ask(f"UID fetch 1:{messages} (UID RFC822.SIZE FLAGS {HEADERS})")
    for number in range(1, messages + 1):
        size = int(fetched(answer, number, ["RFC822.SIZE"])["RFC822.SIZE"] or b"")
        whole, step = b"", 98304
        while len(whole) < size:
            item = f"BODY[]<{len(whole)}>" if size > 98304 else "BODY[]"
            asked = f"BODY[]<{len(whole)}.{step}>" if size > 98304 else "BODY[]"
            piece = fetched(one.ask(f"UID fetch {number} (UID RFC822.SIZE {asked})"), number, [item])[item]
            assert piece, (number, item)
            whole, step = whole + piece, step + 32768
        assert len(whole) == size
        yield Fetched(number, "", whole)


def shown(structure: Part) -> list[Part]:
    """What a program shows of a message, with its calendar part."""
    return [part for part in leaves(structure) if part.type.startswith("text/")]


def _pieces(one: Asking, number: int, item: str, step: int, size: int) -> Iterator[bytes]:
    """Up to `size` octets; -1: until less comes than was asked for."""
    for start in count(0, step):
        asked = step if size < 0 else min(step, size - start)
        if asked <= 0:
            return
        name = f"{item}<{start}>"
        piece = fetched(one.ask(f"FETCH {number} ({peeked(item)}<{start}.{asked}>)"), number, [name])[name] or b""
        yield piece
        if len(piece) < asked:
            assert size < 0, f"{item} of message {number} ends before its size"
            return


# -- what they read


@pytest.fixture(scope="module")
def stored(dovecot: Server, people: People, project: Path) -> tuple[str, int]:
    """A user with the meeting requests of the corpora in his inbox, one of them with a large attachment; and how many there are."""
    user = people.new(dovecot)
    octets = [path.read_bytes() for path, wanted in expectations(project).items() if wanted]
    octets.append(with_attachment(octets[0], 300_000))
    with Dialogue(dovecot.ports.imap) as imap:
        imap.line()
        imap.command(f"a LOGIN {user} {PASSWORD}".encode())
        for message in octets:
            message = message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
            imap.send(b"b APPEND INBOX {%d}\r\n" % len(message))
            assert imap.line().startswith(b"+")
            imap.send(message + b"\r\n")
            assert b"\r\nb OK" in b"\r\n" + imap.until(b"b")
    return user, len(octets)


def with_attachment(message: bytes, size: int) -> bytes:
    """The message as the first part of a larger one."""
    header, _, text = message.replace(b"\r\n", b"\n").partition(b"\n\n")
    lines = header.replace(b"\n ", b"\0 ").replace(b"\n\t", b"\0\t").split(b"\n")
    inner = [line.replace(b"\0", b"\n") for line in lines if line.lower().startswith(b"content-")]
    outer = [line.replace(b"\0", b"\n") for line in lines if not line.lower().startswith(b"content-")]
    attachment = encodebytes(bytes(range(256)) * (size // 256))
    pieces = [*outer, b"Content-Type: multipart/mixed; boundary=outer", b"", b"--outer", *inner, b"", text, b"--outer"]
    pieces += [b"Content-Type: application/octet-stream", b"Content-Transfer-Encoding: base64", b"", attachment, b"--outer--", b""]
    return b"\n".join(pieces)


@pytest.fixture(scope="module")
def front(dovecot: Server) -> Iterator[RunningProxy]:
    with running_proxy(MeetingLinks(), LINKS, server=f"127.0.0.1:{dovecot.ports.imap}", protocol="imap") as front:
        yield front


@pytest.mark.parametrize("way", [k9, javamail, javamail_that_trusts_no_size, roundcube, apple_mail, outlook, thunderbird])
def test_a_mail_program_ends_up_with_the_message_that_others_see(
    way: Way, dovecot: Server, front: RunningProxy, stored: tuple[str, int]
) -> None:
    user, messages = stored
    mailbox = f"For {way.__name__}".replace(" ", "_")  # nobody has seen these copies
    with asking(dovecot.ports.imap, user) as direct:
        for command in (f"CREATE {mailbox}", f"COPY 1:* {mailbox}"):
            assert direct.ask(command)[-1].startswith(b"t OK")
    with asking(front.port, user, mailbox) as one:
        seen = list(way(one, messages))
    with asking(front.port, user, mailbox) as other, asking(dovecot.ports.imap, user, mailbox) as direct:
        for number in range(1, messages + 1):
            mine = {section: octets for read, section, octets in seen if read == number}
            items = [f"BODY[{section}]" for section in mine]
            assert other.fetch(number, *items) == {f"BODY[{section}]": octets for section, octets in mine.items()}, number
            assert mine[""] != direct.fetch(number, "BODY[]")["BODY[]"], number
            _has_the_block_once(mine[""])
    assert {number for number, _, _ in seen} == set(range(1, messages + 1))
    assert not front.events("annotations.contradicted")
    assert not front.events("session.bug")


def _has_the_block_once(whole: bytes) -> None:
    texts = [part for part in email.message_from_bytes(whole).walk() if part.get_content_type() in ("text/plain", "text/html")]
    payloads = [part.get_payload(decode=True) for part in texts]
    found = [payload.count(LINK) for payload in payloads if isinstance(payload, bytes) and LINK in payload]
    assert found and set(found) <= {1, 2}, found  # HTML has it as a button and as a text
    assert all(payload.count(b"<!-- portico -->") <= 1 for payload in payloads if isinstance(payload, bytes))
