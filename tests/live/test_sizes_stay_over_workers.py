"""A size never changes under a client, whichever worker tells it, through restarts and deaths.

Rule of this file: many sessions of one user over two workers ask in an order that chance has chosen; all that was told of a UID must be one number.
"""

from __future__ import annotations

import os
import random
import re
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from portico.demo import messages
from portico.demo.certificates import Certificates
from portico.demo.dovecot import Dovecot
from portico.demo.mailbox import Folder, Message

from tests.live.asking import Asking, asking
from tests.live.dialogue import eventually
from tests.live.front import Front
from tests.live.people import People, load

pytestmark = pytest.mark.live

MESSAGES = 60
ASKED = (
    "UID FETCH 1:* (UID RFC822.SIZE)",
    "FETCH 1:* FAST",
    "UID FETCH {few} (FLAGS RFC822.SIZE)",
    "FETCH 1:* (UID RFC822.SIZE INTERNALDATE)",
    "UID FETCH {one} (RFC822.SIZE BODY.PEEK[])",
    "FETCH 1:* ALL",
    "UID FETCH {few} (RFC822.SIZE BODYSTRUCTURE)",
)
ANSWER = re.compile(rb"\* (\d+) FETCH \(.*?RFC822\.SIZE (\d+)")


@pytest.fixture
def front(place: Path, dovecot: Dovecot, certificates: Certificates, tmp_path: Path) -> Iterator[Front]:
    more = f"""
[plugins.size_estimates]
sample = 7
[annotations]
file = "{tmp_path / "ledger"}"
[workers]
count = 2
"""
    front = Front(place / "sizes-stay", dovecot.ports, certificates, protocols=("imap",), more=more)
    yield front
    front.stop()


def test_a_size_never_changes_whichever_worker_tells_it_through_restarts_and_deaths(front: Front, dovecot: Dovecot, people: People) -> None:
    user = people.new(dovecot)
    chance = random.Random(7)
    mail = [messages.plain(number, f"No. {number}", "Lines of text.\r\n" * chance.choice((1, 20, 400, 3000))) for number in range(MESSAGES)]
    load(dovecot, user, [Folder("INBOX", [Message(octets) for octets in mail])])
    told: dict[int, int] = {}

    def ask(one: Asking) -> None:
        few = ",".join(str(uid) for uid in sorted(chance.sample(range(1, MESSAGES + 1), 9)))
        command = chance.choice(ASKED).format(few=few, one=chance.randint(1, MESSAGES))
        found = ANSWER.findall(b"".join(one.ask(command)))
        assert found, command
        for number, size in found:  # nothing is expunged: the number is the UID
            assert told.setdefault(int(number), int(size)) == int(size), f"{command}: UID {int(number)}"

    def several(times: int) -> None:
        with ExitStack() as open_:
            sessions = [open_.enter_context(asking(front.clear.imap, user)) for _ in range(6)]
            for _ in range(times):
                ask(chance.choice(sessions))

    front.start()
    several(20)
    assert eventually(lambda: several(5) or tellers(front) == {0, 1}, 60), "each worker has told some"
    workers = workers_of(front)
    assert len(workers) == 2
    os.kill(workers.pop(), signal.SIGKILL)
    assert eventually(lambda: len(workers_of(front)) == 2, 60)
    several(20)
    assert len(told) == MESSAGES
    wrong = [uid for uid, size in told.items() if size != len(mail[uid - 1])]
    assert wrong, "some were estimated"
    front.stop()
    front.start()
    several(10)


def tellers(front: Front) -> set[int]:
    """Numbers of the workers that have told sizes."""
    return {event["worker"] for event in front.events("sizes.told")}


def workers_of(front: Front) -> set[int]:
    """Process ids of the workers that serve."""
    ended = {event["pid"] for event in front.events("worker.ended")}
    return {event["pid"] for event in front.events("worker.started")} - ended
