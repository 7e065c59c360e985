"""What one machine told of messages the other tells too, where both remember it in one Redis.

Rule of this file: two `portico run` that would each tell something else, in another size and with a link to another place; whoever was asked
first is who both go by.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from portico.demo import messages
from portico.demo.certificates import Certificates
from portico.demo.dovecot import Dovecot
from portico.demo.mailbox import Folder, Message
from portico.demo.ports import wait_until

from tests.live.asking import Asking, asking, fetched
from tests.live.conftest import unpacked
from tests.live.front import Front
from tests.live.people import People, load
from tests.live.redis_server import Redis, running_redis
from tests.live.test_meeting_requests import crlf

pytestmark = pytest.mark.live

REQUEST = 2
MESSAGES = 4


@pytest.fixture
def redis(place: Path, project: Path) -> Iterator[Redis]:
    with running_redis(unpacked("redis", project), place / "redis-told") as running:
        yield running


@pytest.fixture
def fronts(redis: Redis, dovecot: Dovecot, place: Path, certificates: Certificates) -> Iterator[list[Front]]:
    with ExitStack() as stack:
        started = []
        for name, octets in (("one", 100), ("two", 50_000)):
            directory = place / f"told-{name}"
            directory.mkdir()
            (directory / "redis-url").touch(0o600)
            (directory / "redis-url").write_text(redis.url)
            more = f"""
[shared]
redis = {{file = "redis-url"}}
annotations = true
patience = "5s"
[plugins.size_estimates]
estimator = "fixed"
fixed = "{octets}"
[plugins.meeting_links]
webmail = "nextcloud"
host = "{name}.example.org"
[workers]
count = 1
"""
            front = Front(directory, dovecot.ports, certificates, protocols=("imap",), more=more)
            stack.callback(front.stop)
            started.append(front.start())
        yield started


def sizes(session: Asking, numbers: str) -> dict[int, bytes | None]:
    """As a list of the folder has them."""
    answer = session.ask(f"FETCH {numbers} (UID FLAGS RFC822.SIZE)")
    first, _, last = numbers.partition(":")
    return {number: fetched(answer, number, ["RFC822.SIZE"])["RFC822.SIZE"] for number in range(int(first), int(last) + 1)}


def test_what_one_tells_the_other_tells_and_without_redis_no_session_ends(
    fronts: list[Front], redis: Redis, dovecot: Dovecot, people: People, project: Path
) -> None:
    user = people.new(dovecot)
    request = crlf(project / "tests" / "corpus" / "invite-outlook.eml")
    mail = [messages.plain(number, f"No. {number}", "A line.\r\n" * 50) for number in range(MESSAGES)]
    mail[REQUEST - 1] = request
    load(dovecot, user, [Folder("INBOX", [Message(octets) for octets in mail])])
    with asking(fronts[0].clear.imap, user) as one, asking(fronts[1].clear.imap, user) as two:
        # A request carries the link of whoever was asked first.
        (annotated,) = two.fetch(REQUEST, "BODY[]").values()
        assert annotated is not None
        assert b"two.example.org" in annotated
        assert one.fetch(REQUEST, "BODY[]") == {"BODY[]": annotated}
        assert one.fetch(REQUEST, "BODYSTRUCTURE") == two.fetch(REQUEST, "BODYSTRUCTURE")
        # A size that was told, by either, is the size.
        assert sizes(one, "1:2") == {1: b"100", 2: b"%d" % len(annotated)}
        assert sizes(two, "3:4") == {3: b"50000", 4: b"50000"}
        assert sizes(one, "1:4") == sizes(two, "1:4") == {1: b"100", 2: b"%d" % len(annotated), 3: b"50000", 4: b"50000"}
        # Redis goes, and takes nobody with it.
        redis.kill()
        load(dovecot, user, [Folder("INBOX", [Message(request), Message(mail[0])])])
        for session, front in ((one, fronts[0]), (two, fronts[1])):
            for command in ("NOOP", "FETCH 1:6 (UID FLAGS RFC822.SIZE)", "FETCH 1:6 (BODY.PEEK[])", "CHECK"):
                assert session.ask(command)[-1].startswith(b"t OK"), command
            assert fetched(session.ask("FETCH 5 (BODY.PEEK[])"), 5, ["BODY[]"]) == {"BODY[]": request}
            wait_until("it in the log", lambda front=front: front.events("annotations.not_remembered"), seconds=60)
            assert session.fetch(REQUEST, "BODY[]") == {"BODY[]": annotated}  # what was shown stays
            assert not front.events("session.bug")
