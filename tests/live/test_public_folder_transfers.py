"""Messages that go from one server to the other, by COPY and MOVE: whole, once, with all that belongs to them, or not at all.

Rule of this file: what arrived is read straight at the server that has it, never through Portico.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from portico.demo import messages
from portico.demo.dovecot import Dovecot
from portico.wire.imap import parse_fetch, unquoted

from tests.live.clients import sha256
from tests.live.dialogue import Dialogue
from tests.live.people import PASSWORD
from tests.live.stores import LETTERS, Public

pytestmark = pytest.mark.live

_FETCH = re.compile(rb"\* \d+ FETCH ")
COPYUID = re.compile(rb"\[COPYUID (\d+) (\S+) (\S+)\]")


@dataclass(frozen=True)
class Kept:
    """A message as a server keeps it."""

    digest: str
    flags: frozenset[bytes]
    date: bytes


def straight(server: Dovecot, user: str) -> Dialogue:
    client = Dialogue(server.ports.imap)
    client.line()
    assert b"in OK" in client.command(f"in LOGIN {user} {PASSWORD}".encode())
    return client


def kept(server: Dovecot, user: str, box: str) -> dict[int, Kept]:
    """All messages of a mailbox by UID."""
    with straight(server, user) as client:
        assert b"e OK" in client.command(f'e EXAMINE "{box}"'.encode())
        found = {}
        client.send(b"f UID FETCH 1:* (UID FLAGS INTERNALDATE BODY.PEEK[])\r\n")
        while not (response := client.response()).startswith(b"f "):
            if _FETCH.match(response):
                fetched = parse_fetch(response.rstrip(b"\r\n"))
                flags = frozenset((fetched.value("FLAGS") or b"()")[1:-1].split()) - {b"\\Recent"}
                octets = unquoted(fetched.value("BODY[]") or b"") or b""
                found[fetched.uid or 0] = Kept(sha256(octets), flags, fetched.value("INTERNALDATE") or b"")
        return found


def store(client: Dialogue, box: str, octets: bytes, flags: str = "", date: str = "04-May-2026 09:00:00 +0200") -> None:
    answer = client.command(f'a APPEND "{box}" ({flags}) "{date}" {{{len(octets)}+}}\r\n'.encode() + octets)
    assert b"a OK" in answer


def numbers(text: bytes) -> list[int]:
    found: list[int] = []
    for each in text.split(b","):
        low, _, high = each.partition(b":")
        found += range(int(low), int(high or low) + 1)
    return found


@pytest.fixture
def user(reader: str, dovecot: Dovecot, public_store: Dovecot) -> Iterator[str]:
    """Who has a folder of his own, `Mine`, and a public one, `Open/<user>`."""
    name = reader
    with straight(dovecot, name) as client:
        client.command(b"c CREATE Mine")
    with straight(public_store, name) as client:
        client.command(f"c CREATE Public/Open/{name}".encode())
        yield name
        client.command(f"c DELETE Public/Open/{name}".encode())


WAYS = ["into the public folder", "out of the public folder"]


@dataclass(frozen=True)
class Journey:
    """From where to where, for the client and straight at the servers."""

    source: str
    target: str
    at_source: tuple[Dovecot, str, str]
    at_target: tuple[Dovecot, str, str]


@pytest.fixture(params=WAYS)
def journey(request: pytest.FixtureRequest, user: str, dovecot: Dovecot, public_store: Dovecot) -> Journey:
    own = ("Mine", (dovecot, user, "Mine"))
    shared = (f"Public Folders/Open/{user}", (public_store, user, f"Public/Open/{user}"))
    first, second = (own, shared) if request.param == WAYS[0] else (shared, own)
    return Journey(first[0], second[0], first[1], second[1])


def seed(journey: Journey) -> dict[int, Kept]:
    """Four messages with flags, keywords and dates of their own; the third has an attachment, the fourth octets above 127."""
    server, user, box = journey.at_source
    with straight(server, user) as client:
        store(client, box, LETTERS[0], "\\Seen \\Flagged $Label1", "01-Jan-1999 23:59:59 -0800")
        store(client, box, LETTERS[1], "$Forwarded NonJunk", "29-Feb-2024 12:00:00 +0545")
        store(client, box, messages.attachments(31, size=300 * 1024), "\\Answered \\Draft")
        store(client, box, messages.eight_bit(32))
    return kept(*journey.at_source)


@pytest.mark.parametrize("by", ["COPY 1:*", "UID COPY 1:4", "COPY 4,1,3:2", "UID COPY 1:1000000"])
def test_a_copy_keeps_flags_keywords_dates_and_octets_and_tells_the_new_uids(by: str, journey: Journey, user: str, public: Public) -> None:
    before = seed(journey)
    with public.client("user", user) as client:
        client.command(f'a SELECT "{journey.source}"'.encode())
        answer = client.command(f'c {by} "{journey.target}"'.encode())
        assert re.search(rb"^c OK ", answer, re.MULTILINE), answer
        assert b"EXPUNGE" not in answer and b"VANISHED" not in answer
    after = kept(*journey.at_target)
    assert kept(*journey.at_source) == before
    told = COPYUID.search(answer)
    assert told is not None
    pairs = dict(zip(numbers(told[2]), numbers(told[3]), strict=True))
    assert {old: after[new] for old, new in pairs.items()} == before
    with straight(journey.at_target[0], user) as client:
        assert b"UIDVALIDITY %b)" % told[1] in client.command(f's STATUS "{journey.at_target[2]}" (UIDVALIDITY)'.encode())


@pytest.mark.parametrize("by", ["MOVE 2:3", "UID MOVE 2,3"])
def test_a_moved_message_is_there_and_no_longer_here_and_the_client_is_told(by: str, journey: Journey, user: str, public: Public) -> None:
    before = seed(journey)
    with public.client("user", user) as client:
        client.command(f'a SELECT "{journey.source}"'.encode())
        client.command(b"d STORE 1 +FLAGS.SILENT (\\Deleted)")  # not one that is moved: it stays
        answer = client.command(f'm {by} "{journey.target}"'.encode())
        assert re.search(rb"^m OK ", answer, re.MULTILINE), answer
        assert client.command(b"n UID SEARCH ALL").startswith(b"* SEARCH 1 4\r\n")
        client.command(b"d STORE 1 -FLAGS.SILENT (\\Deleted)")
    told = COPYUID.search(answer)
    assert told is not None and answer.index(b"COPYUID") < answer.index(b"EXPUNGE")
    assert len(re.findall(rb"^\* \d+ EXPUNGE\r", answer, re.MULTILINE)) == 2
    left = kept(*journey.at_source)
    assert left == {uid: message for uid, message in before.items() if uid in (1, 4)}
    after = kept(*journey.at_target)
    assert [after[uid] for uid in numbers(told[3])] == [before[uid] for uid in numbers(told[2])] == [before[2], before[3]]


def test_a_thousand_messages_go_at_once_and_in_their_order(journey: Journey, user: str, public: Public) -> None:
    server, _, box = journey.at_source
    bodies = [messages.plain(1, f"Number {number}", f"{number}\n" * (number % 7 + 1)) for number in range(1000)]
    with straight(server, user) as client:
        for start in range(0, 1000, 100):
            parts = b"".join(b" (\\Seen) {%d+}\r\n%b" % (len(body), body) for body in bodies[start : start + 100])
            assert b"a OK" in client.command(f'a APPEND "{box}"'.encode() + parts)
    with public.client("user", user) as client:
        client.command(f'a SELECT "{journey.source}"'.encode())
        answer = client.command(f'c UID COPY 1:* "{journey.target}"'.encode())
    told = COPYUID.search(answer)
    assert told is not None
    after = kept(*journey.at_target)
    assert numbers(told[3]) == sorted(after)
    assert [message.digest for _, message in sorted(after.items())] == [sha256(body) for body in bodies]


def test_nothing_to_copy_is_no_mistake(journey: Journey, user: str, public: Public) -> None:
    with public.client("user", user) as client:
        client.command(f'a SELECT "{journey.source}"'.encode())
        assert re.search(rb"^c OK ", client.command(f'c UID COPY 5:9 "{journey.target}"'.encode()), re.MULTILINE)
        assert re.search(rb"^d (BAD|NO) ", client.command(f'd COPY nonsense "{journey.target}"'.encode()), re.MULTILINE)
        assert b"n OK" in client.command(b"n NOOP")
    assert kept(*journey.at_target) == {}


def test_a_target_that_is_not_there_is_to_be_created_first(journey: Journey, user: str, public: Public) -> None:
    before = seed(journey)
    with public.client("user", user) as client:
        client.command(f'a SELECT "{journey.source}"'.encode())
        for verb in ("COPY", "MOVE"):
            answer = client.command(f'c {verb} 1:* "{journey.target}/nowhere"'.encode())
            assert re.search(rb"^c NO \[TRYCREATE\]", answer, re.MULTILINE), answer
        assert b"c OK" in client.command(f'c CREATE "{journey.target}/nowhere"'.encode())
        assert b"c OK" in client.command(f'c COPY 1:* "{journey.target}/nowhere"'.encode())
        assert b"d OK" in client.command(f'd DELETE "{journey.target}/nowhere"'.encode())
    assert kept(*journey.at_source) == before


def test_a_message_that_a_plugin_shows_with_more_in_it_is_copied_as_it_is(
    user: str, public: Public, dovecot: Dovecot, public_store: Dovecot
) -> None:
    request = messages.outlook_request(9)
    with straight(dovecot, user) as client:
        store(client, "Mine", request)
    with public.client("with links", user) as client:
        client.command(b"a SELECT Mine")
        assert b"https://mail.example.org/" in client.command(b"f FETCH 1 BODY.PEEK[]")
        assert b"c OK [COPYUID" in client.command(f'c COPY 1 "Public Folders/Open/{user}"'.encode())
        client.command(f'a SELECT "Public Folders/Open/{user}"'.encode())
        assert b"https://mail.example.org/" not in client.command(b"f FETCH 1 BODY.PEEK[]")
    (arrived,) = kept(public_store, user, f"Public/Open/{user}").values()
    assert arrived.digest == sha256(request)


# -- rights


def test_where_one_may_only_read_nothing_arrives_and_the_server_says_why(user: str, public: Public, dovecot: Dovecot) -> None:
    with straight(dovecot, user) as client:
        store(client, "Mine", LETTERS[0])
    with public.client("user", user) as client:
        client.command(b"a SELECT Mine")
        for verb in (b"COPY", b"MOVE"):
            answer = client.command(b'c %b 1 "Public Folders/Notices"' % verb)
            assert re.search(rb"^c NO \[NOPERM\]", answer, re.MULTILINE), answer
    assert len(kept(dovecot, user, "Mine")) == 1


@pytest.mark.parametrize("way", ["user", "master", "account"])
def test_what_may_not_be_removed_is_not_moved_and_not_copied_either(way: str, user: str, public: Public, dovecot: Dovecot) -> None:
    with public.client(way, user) as client:
        client.command(b'a SELECT "Public Folders/Notices"')
        answer = client.command(b"m MOVE 1 Mine")
        assert re.search(rb"^m NO \[(NOPERM|CANNOT)\]", answer, re.MULTILINE), answer
        assert kept(dovecot, user, "Mine") == {}
        assert b"c OK" in client.command(b"c COPY 1 Mine")
    (message,) = kept(dovecot, user, "Mine").values()
    assert b"$Notice" in message.flags


def test_quota_is_told_as_the_server_says_it_and_nothing_is_stored(user: str, public: Public, dovecot: Dovecot) -> None:
    with straight(dovecot, user) as client:
        for number in range(3):
            store(client, "Mine", messages.attachments(number + 1, size=400 * 1024))
    with public.client("whole", user) as client:
        client.command(b"a SELECT Mine")
        for verb in (b"COPY", b"MOVE"):
            answer = client.command(b'c %b 1:3 "Public Folders/INBOX"' % verb)
            assert re.search(rb"^c NO \[OVERQUOTA\]", answer, re.MULTILINE), answer
            assert b"(MESSAGES 0)" in client.command(b's STATUS "Public Folders/INBOX" (MESSAGES)')
        assert b"* SEARCH 1 2 3\r\n" in client.command(b"n SEARCH ALL")


# -- what two servers cannot do


def test_a_folder_is_not_renamed_from_one_server_to_the_other(user: str, public: Public, dovecot: Dovecot, public_store: Dovecot) -> None:
    with public.client("user", user) as client:
        for old, new in (("Mine", f"Public Folders/Open/{user}/Mine"), (f"Public Folders/Open/{user}", "Taken")):
            answer = client.command(f'r RENAME "{old}" "{new}"'.encode())
            assert re.fullmatch(rb"r NO \[CANNOT\] .+\r\n", answer), answer
        assert b"m OK" in client.command(b"m SELECT Mine")
        assert b"m OK" in client.command(f'm SELECT "Public Folders/Open/{user}"'.encode())


@pytest.mark.parametrize("command", ["DELETE", "CREATE", "SELECT", "APPEND", "RENAME"])
def test_the_mount_itself_is_no_mailbox(command: str, user: str, public: Public) -> None:
    what = {"RENAME": ' "Other"', "APPEND": " {1+}\r\nx"}.get(command, "")
    with public.client("user", user) as client:
        answer = client.command(f'x {command} "Public Folders"{what}'.encode())
        assert re.search(rb"^x NO ", answer, re.MULTILINE), answer
        assert b"n OK" in client.command(b"n NOOP")
