"""A transformed message is, in every answer, the message that a server would hold if it had been stored so.

Rule of this file: messages are stored straight on Dovecot; for another user what a third party's plugin makes of them is stored. The first
user asks through Portico with that plugin, the second one straight, and both get the same.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from portico.plugin import Interests, Outline, Session, hookimpl
from portico.testing import RunningProxy, running_proxy
from portico.testing.client import Dialogue
from portico.wire.imap import parse_arguments, parse_fetch, unquoted
from portico.wire.message import trouble_with

from tests.live.conftest import Server
from tests.live.people import PASSWORD, People
from tests.live.test_annotations import Reader, reader
from tests.live.test_annotations_pop3 import Reader as Pop3Reader
from tests.live.test_messages_told import OTHER_ENVELOPE, OTHER_MIME, OTHER_STRUCTURE, TWO_SPACES, in_crlf, parts, tree
from tests.live.test_structures import messages, told

pytestmark = pytest.mark.live

NAMES: Final = "SUBJECT X-SCAN CONTENT-TYPE"


def scanned(message: bytes) -> bytes:
    """With one more field in the header."""
    header, _, text = message.partition(b"\r\n\r\n")
    return b"%b\r\nX-Scan: clean\r\n\r\n%b" % (header, text)


def taken_out(message: bytes) -> bytes:
    """With another text, and nothing else of the old one."""
    subject = next((line for line in message.split(b"\r\n") if line.lower().startswith(b"subject:") and line.isascii()), b"Subject: none")
    return b"%b\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nDiese Nachricht wurde entfernt.\r\n.\r\n" % subject


def shown(message: bytes) -> bytes | None:
    """What the plugin makes of a message; None: it leaves it."""
    if trouble_with(message) or len(message) % 4 == 0:
        return None
    return taken_out(message) if len(message) % 4 == 1 else scanned(message)


class Scanner:
    """A plugin as a third party writes one."""

    portico_interests = ("transforms",)
    types: Sequence[str] = ()
    asked = 0

    @hookimpl
    def session_opened(self) -> Interests:
        return Interests(transformer=self)

    def wants(self, session: Session, outline: Outline) -> bool:
        return outline.size % 4 != 0

    def transform(self, session: Session, outline: Outline, message: bytes) -> bytes | None:
        Scanner.asked += 1
        return shown(message)


class Later(Scanner):
    """The same with another opinion."""

    def transform(self, session: Session, outline: Outline, message: bytes) -> bytes | None:
        return b"Subject: later\r\n\r\nOther.\r\n"


def store(port: int, user: str, octets: Sequence[bytes]) -> list[bytes]:
    """The messages as the server then gives them, all that are in the mailbox; those that it refuses are left out."""
    with Dialogue(port) as imap:
        imap.line()
        imap.command(f"a LOGIN {user} {PASSWORD}".encode())
        for message in octets:
            imap.send(b"b APPEND INBOX {%d}\r\n" % len(message))
            if imap.line().startswith(b"+"):
                imap.send(message + b"\r\n")
                imap.until(b"b")
        selected = imap.command(b"s SELECT INBOX")
        found = []
        for number in range(1, int(selected.split(b" EXISTS")[0].rsplit(b" ", 1)[1]) + 1):
            answer = imap.command(b"d FETCH %d (BODY.PEEK[])" % number)
            found.append(unquoted(parse_fetch(answer[: answer.rindex(b"d OK")].rstrip(b"\r\n")).value("BODY[]") or b"") or b"")
    return found


@pytest.fixture(scope="module")
def originals(dovecot: Server, people: People, project: Path) -> list[tuple[str, bytes]]:
    """Messages that Dovecot takes and gives back as they were: by name."""
    own = sorted((project / "tests" / "corpus").glob("*.eml"))
    read = [(path.stem, in_crlf(path.read_bytes())) for path in messages(project, own)]
    whole = [(name, octets) for name, octets in read if octets.endswith(b"\r\n") and b"\0" not in octets]
    given = set(store(dovecot.ports.imap, people.new(dovecot), [octets for _, octets in whole]))
    return [(name, octets) for name, octets in whole if octets in given]


@pytest.fixture(scope="module")
def stored(dovecot: Server, people: People, originals: list[tuple[str, bytes]]) -> tuple[str, str, list[str]]:
    """Who asks through Portico, who asks straight, and the names of the messages in both mailboxes."""
    one, other = people.new(dovecot), people.new(dovecot)
    octets = [message for _, message in originals]
    assert store(dovecot.ports.imap, one, octets) == octets
    expected = [shown(message) or message for message in octets]
    assert store(dovecot.ports.imap, other, expected) == expected
    return one, other, [name for name, _ in originals]


@pytest.fixture(scope="module")
def front(dovecot: Server) -> Iterator[RunningProxy]:
    with running_proxy(Scanner(), server=f"127.0.0.1:{dovecot.ports.imap}", protocol="imap") as proxy:
        yield proxy


def test_every_answer_is_the_one_for_the_message_that_is_shown(
    dovecot: Server, front: RunningProxy, stored: tuple[str, str, list[str]], originals: list[tuple[str, bytes]]
) -> None:
    one, other, names = stored
    changed = 0
    chance = random.Random(7)
    with reader(front.port, one) as through, reader(dovecot.ports.imap, other) as straight:
        for number, name in enumerate(names, 1):
            original = originals[number - 1][1]
            through.imap.received = straight.imap.received = b""
            items = ["RFC822.SIZE", "RFC822.HEADER", "BODY.PEEK[]", "BODY.PEEK[TEXT]", f"BODY.PEEK[HEADER.FIELDS ({NAMES})]"]
            items += [f"BODY.PEEK[HEADER.FIELDS.NOT ({NAMES})]", "BODY.PEEK[9]", "BODY.PEEK[9.MIME]"]
            for part in parts(straight.fetch(number, "BODYSTRUCTURE").value("BODYSTRUCTURE") or b"")[:12]:
                if part.number and not part.number.endswith("TEXT"):
                    items += [f"BODY.PEEK[{part.number}]", f"BODY.PEEK[{part.number}.HEADER]", f"BODY.PEEK[{part.number}.TEXT]"]
                    items += [] if name in OTHER_MIME else [f"BODY.PEEK[{part.number}.MIME]"]
            at = chance.randrange(len(original))
            items += [f"BODY.PEEK[]<{at}.1>", f"BODY.PEEK[TEXT]<{at // 2}.1000>", "BODY.PEEK[HEADER]<7.65536>"]
            chance.shuffle(items)
            ours, theirs = through.fetch(number, " ".join(items)), straight.fetch(number, " ".join(items))
            assert {item: octets(ours, item) for item in theirs.items} == {item: octets(theirs, item) for item in theirs.items}, name
            assert ours.items.keys() == theirs.items.keys(), name
            compare_structures(through, straight, number, name)
            changed += shown(original) is not None
    assert changed > 20
    assert not front.events("session.bug")
    assert not front.events("annotations.contradicted")
    assert not front.events("plugin.failed")


def octets(fetch: Any, item: str) -> bytes:
    """Servers write a string as they like; what is not there is empty."""
    value = fetch.value(item) or b""
    return value if value.isdigit() else unquoted(value) or b""


def compare_structures(through: Reader, straight: Reader, number: int, name: str) -> None:
    ours, theirs = (each.fetch(number, "BODY BODYSTRUCTURE ENVELOPE") for each in (through, straight))
    if name not in OTHER_ENVELOPE:
        assert parse_arguments(ours.value("ENVELOPE") or b"") == parse_arguments(theirs.value("ENVELOPE") or b""), name
    if name in OTHER_STRUCTURE:
        return
    for item in ("BODY", "BODYSTRUCTURE"):
        mine, other = ours.value(item) or b"", theirs.value(item) or b""
        assert [told(part) for part in parts(mine)] == [told(part) for part in parts(other)], (name, item)
        if name != TWO_SPACES:
            assert tree(parse_arguments(mine)) == tree(parse_arguments(other)), (name, item)


def test_a_listing_of_all_a_search_and_a_sort_know_the_new_sizes(
    dovecot: Server, front: RunningProxy, stored: tuple[str, str, list[str]]
) -> None:
    one, other, names = stored
    with reader(front.port, one) as through, reader(dovecot.ports.imap, other) as straight:
        # Not in the order of the numbers: those that are transformed come first (RFC 9051 7.5.2 leaves it open).
        ours, theirs = (
            sorted(line for line in each.command("FETCH 1:* (UID RFC822.SIZE)").split(b"\r\n") if line.startswith(b"* "))
            for each in (through, straight)
        )
        assert len(ours) == len(names)
        assert ours == theirs
        sizes = sorted(int(line.split(b"RFC822.SIZE ")[1].strip(b")")) for line in ours)
        for limit in sizes[:: len(sizes) // 6]:
            for key in (f"LARGER {limit}", f"SMALLER {limit}", f"OR LARGER {limit} SMALLER {limit - 1}"):
                assert through.command(f"SEARCH {key}").split(b"\r\n")[0] == straight.command(f"SEARCH {key}").split(b"\r\n")[0], key
        by_size = {line.split()[1]: int(line.split(b"RFC822.SIZE ")[1].strip(b")")) for line in ours}
        found = through.command("SORT (SIZE) UTF-8 ALL").split(b"\r\n")[0].split()[2:]
        assert [by_size[number] for number in found] == sizes
        status = through.command("STATUS INBOX (SIZE)")
        assert int(status.split(b"SIZE ")[1].split(b")")[0]) >= sum(sizes)


def test_what_has_changed_what_was_saved_and_what_has_vanished_is_found(
    dovecot: Server, people: People, front: RunningProxy, originals: list[tuple[str, bytes]]
) -> None:
    user = people.new(dovecot)
    octets = [message for _, message in originals[:12]]
    store(dovecot.ports.imap, user, octets)
    expected = [shown(message) or message for message in octets]
    with reader(front.port, user) as one:
        one.command("ENABLE QRESYNC")
        one.command("STORE 1 +FLAGS.SILENT (\\Deleted)")
        one.command("EXPUNGE")
        sizes = {b"%d" % uid: b"%d" % len(message) for uid, message in enumerate(expected, 1) if uid > 1}
        told = one.command("UID FETCH 1:* (RFC822.SIZE) (CHANGEDSINCE 1 VANISHED)")
        assert b"* VANISHED (EARLIER) 1\r\n" in told
        found = [parse_fetch(line + b"\r\n") for line in told.split(b"\r\n") if b" FETCH (" in line]
        assert {b"%d" % (each.uid or 0): each.value("RFC822.SIZE") for each in found} == sizes
        assert all(each.value("MODSEQ") for each in found)
        last = max(int((each.value("MODSEQ") or b"()").strip(b"()")) for each in found)
        one.command("UID STORE 3:4 +FLAGS.SILENT (\\Flagged)")
        told = one.command(f"UID FETCH 1:* (RFC822.SIZE) (CHANGEDSINCE {last})")
        found = [parse_fetch(line + b"\r\n") for line in told.split(b"\r\n") if b" FETCH (" in line]
        assert {each.uid: each.value("RFC822.SIZE") for each in found} == {uid: b"%d" % len(expected[uid - 1]) for uid in (3, 4)}
        one.command("SEARCH RETURN (SAVE) UID 5:7")
        told = one.command("FETCH $ (UID RFC822.SIZE)")
        found = [parse_fetch(line + b"\r\n") for line in told.split(b"\r\n") if b" FETCH (" in line]
        assert {each.uid: each.value("RFC822.SIZE") for each in found} == {uid: b"%d" % len(expected[uid - 1]) for uid in (5, 6, 7)}


def test_reading_sets_seen_and_peeking_does_not(front: RunningProxy, stored: tuple[str, str, list[str]]) -> None:
    one, _, names = stored
    with reader(front.port, one) as through:
        number = next(number for number in range(1, len(names) + 1) if b"X-Scan" in through.section(number, "BODY[HEADER]"))
        assert b"\\Seen" not in (through.fetch(number, "FLAGS").value("FLAGS") or b"")
        answer = through.command(f"FETCH {number} (BODY[HEADER.FIELDS (X-SCAN)])")
        assert b"X-Scan: clean\r\n\r\n" in answer
        assert b"\\Seen" in (through.fetch(number, "FLAGS ENVELOPE").value("FLAGS") or b"")
        through.command(f"STORE {number} -FLAGS.SILENT (\\Seen)")
        whole = through.section(number, "BODY[]")
        with reader(front.port, one) as another:
            assert another.section(number, "BODY[]") == whole


def test_what_was_shown_stays_after_a_restart_and_with_another_plugin(
    dovecot: Server, people: People, tmp_path: Path, originals: list[tuple[str, bytes]]
) -> None:
    user = people.new(dovecot)
    octets = [message for _, message in originals[:12]]
    store(dovecot.ports.imap, user, octets)
    settings = {"annotations": {"file": str(tmp_path / "ledger")}}
    server = f"127.0.0.1:{dovecot.ports.imap}"
    with running_proxy(Scanner(), server=server, protocol="imap", settings=settings) as proxy, reader(proxy.port, user) as first:
        before = [first.section(number, "BODY[]") for number in range(1, 13)]
    assert before == [shown(message) or message for message in octets]
    store(dovecot.ports.imap, user, [b"Subject: new\r\n\r\n1\r\n"])
    with running_proxy(Later(), server=server, protocol="imap", settings=settings) as proxy, reader(proxy.port, user) as again:
        assert [again.section(number, "BODY[]") for number in range(1, 13)] == before
        assert [again.size(number) for number in range(1, 13)] == [len(message) for message in before]
        assert again.section(13, "BODY[]") == b"Subject: later\r\n\r\nOther.\r\n"


def test_the_settings_bound_what_is_transformed_and_what_is_kept(
    dovecot: Server, people: People, originals: list[tuple[str, bytes]]
) -> None:
    user = people.new(dovecot)
    octets = [message for _, message in originals[:12]]
    store(dovecot.ports.imap, user, octets)
    most = sorted(map(len, octets))[8]
    settings = {"annotations": {"transform": most, "kept": 0}}
    expected = [made if (made := shown(message)) and max(len(message), len(made)) <= most else message for message in octets]
    assert expected not in (octets, [shown(message) or message for message in octets])
    with running_proxy(Scanner(), server=f"127.0.0.1:{dovecot.ports.imap}", protocol="imap", settings=settings) as proxy:
        with reader(proxy.port, user) as one:
            assert [one.size(number) for number in range(1, 13)] == [len(message) for message in expected]
            asked = Scanner.asked
            assert [one.section(number, "BODY[]") for number in range(1, 13)] == expected
            # Nothing is kept: each is made again.
            assert Scanner.asked - asked == sum(message != original for message, original in zip(expected, octets, strict=True))
        assert not proxy.events("annotations.transform_lost")


def test_through_cyrus_all_that_is_said_of_a_message_is_of_the_one_that_is_shown(
    cyrus: Server, people: People, originals: list[tuple[str, bytes]]
) -> None:
    user = people.new(cyrus)
    given = store(cyrus.ports.imap, user, [message for _, message in originals[:40]])
    expected = [shown(message) or message for message in given]
    assert sum(message != original for message, original in zip(expected, given, strict=True)) > 10
    with running_proxy(Scanner(), server=f"127.0.0.1:{cyrus.ports.imap}", protocol="imap") as proxy, reader(proxy.port, user) as one:
        for number, message in enumerate(expected, 1):
            assert one.section(number, "BODY[]") == message
            assert one.size(number) == len(message)
            assert one.section(number, "BODY[HEADER]") + one.section(number, "BODY[TEXT]") == message
            assert one.section(number, "BODY[]", "<7.100>") == message[7:107]
            if message != given[number - 1]:
                leaf = next(part for part in parts(one.fetch(number, "BODYSTRUCTURE").value("BODYSTRUCTURE") or b"") if not part.parts)
                assert leaf.octets == len(one.section(number, f"BODY[{leaf.number}]"))
        number = next(number for number, message in enumerate(expected, 1) if b"\r\nX-Scan: clean\r\n" in message)
        assert b"\\Seen" not in (one.fetch(number, "FLAGS").value("FLAGS") or b"")
        assert b"X-Scan: clean\r\n\r\n" in one.command(f"FETCH {number} (BODY[HEADER.FIELDS (X-SCAN)])")
        assert b"\\Seen" in (one.fetch(number, "FLAGS ENVELOPE").value("FLAGS") or b"")
        assert not proxy.events("session.bug")


def test_over_pop3_a_message_that_was_retrieved_is_the_one_that_is_shown(
    dovecot: Server, people: People, originals: list[tuple[str, bytes]]
) -> None:
    user = people.new(dovecot)
    octets = [message for _, message in originals]
    store(dovecot.ports.imap, user, octets)
    expected = [shown(message) or message for message in octets]
    with running_proxy(Scanner(), server=f"127.0.0.1:{dovecot.ports.pop3}", protocol="pop3") as proxy:
        with Dialogue(proxy.port) as pop3:
            first = Pop3Reader(pop3, user)
            for number, message in enumerate(expected, 1):
                pop3.received = b""
                pop3.send(b"RETR %d\r\n" % number)
                status, _, body = pop3.multiline().partition(b"\r\n")
                assert status == b"+OK %d octets" % len(message)
                assert body == stuffed(message), originals[number - 1][0]
            first.line("QUIT")
        asked = Scanner.asked
        with Dialogue(proxy.port) as pop3:
            again = Pop3Reader(pop3, user)
            sizes = again.sizes()
            assert sizes == {number: len(message) for number, message in enumerate(expected, 1)}
            assert int(again.line("STAT").split()[2]) == sum(sizes.values())
            for number, message in enumerate(expected, 1):
                pop3.received = b""
                assert again.body(f"RETR {number}") == message
                header, empty, text = message.partition(b"\r\n\r\n")
                if not empty:
                    continue  # a header alone, as the server has it
                lines = text.split(b"\r\n")[:-1]
                for count in (0, 1, len(lines)):
                    wanted = b"".join(line + b"\r\n" for line in lines[:count])
                    assert again.body(f"TOP {number} {count}") == header + b"\r\n\r\n" + wanted, number
            again.line("QUIT")
        assert Scanner.asked == asked
        assert not proxy.events("session.bug")


def stuffed(message: bytes) -> bytes:
    return b"".join((b"." if line.startswith(b".") else b"") + line + b"\r\n" for line in message.split(b"\r\n")[:-1]) + b".\r\n"
