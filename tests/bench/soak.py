"""``python tests/bench/soak.py [--minutes 10] [--pace 10]``: mixed load for a long time; memory and descriptors must come back. See README.md here.

Rule of this file: `portico run` with all three plugins in front of two private Dovecots, clients (soak_visits.py) that come and go as people's
programs do, and at steady intervals what the processes hold when nobody is signed in but who stays (soak_looks.py). It fails (exit 1) when
memory grows by more than noise, a descriptor is left open, a process was replaced, or a client was told something that it did not expect.
On loopback. Each sample is written when it is taken: ``--judge FILE`` judges those of a run that had no end.
"""

from __future__ import annotations

import argparse
import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from portico.demo import certificates, mailbox  # noqa: E402
from portico.demo.dovecot import Dovecot  # noqa: E402
from portico.demo.ports import LOOPBACK, wait_until  # noqa: E402
from portico.demo.workplace import workplace  # noqa: E402

from tests.bench.soak_looks import Sample, family, growths, look, verdict  # noqa: E402
from tests.bench.soak_visits import STAYING, USERS, People, fill  # noqa: E402
from tests.live.front import Front  # noqa: E402

SAMPLES: Final = 20
INTERVAL: Final = 120.0
"""Seconds between samples at most: programs say something that often, or servers take them for dead."""
RELOAD: Final = 5
"""After each so many samples the settings are read again, as when a certificate is renewed."""
SETTLED: Final = 2.0
"""Seconds after the last has gone in which both sides have seen it; a sample that is early only looks worse."""
SETTINGS: Final = """
[workers]
count = {workers}
[servers.store]
imap = "{store}"
[limits]
sessions_per_user = 2000
sessions_per_address = 2000
[penalties]
delay = "100ms"
delay_max = "1s"
[log]
level = "warning"
[metrics]
address = "127.0.0.1:0"
[annotations]
file = "annotations.sqlite"
[plugins.meeting_links]
webmail = "nextcloud"
host = "webmail.example.org"
[plugins.size_estimates]
[plugins.public_folders]
store = "store"
root = "Public"
"""


def soak(front: Front, authority: Path, seconds: float, pace: float, samples: Path) -> list[str]:
    """What is wrong at the end."""
    assert front.child is not None
    people = People(front.ports, authority, pace)
    count = max(SAMPLES, round(seconds / INTERVAL))
    began, taken = time.monotonic(), list[Sample]()
    people.go()
    for number in range(1, count + 1):
        time.sleep(max(0.0, began + seconds * number / count - time.monotonic()))
        people.pause()
        people.still_there()
        time.sleep(SETTLED)
        taken.append(look(front.child.pid, time.monotonic() - began, people.done.total() - people.done["stayed"]))
        with samples.open("a") as file:
            file.write(taken[-1].json() + "\n")
        print(taken[-1].line(), *people.faults[:10], sep="\n", flush=True)
        if number % RELOAD == 0:
            front.child.signal(signal.SIGHUP)
        people.go()
    people.pause()
    people.stop()
    print(f"visits: {dict(people.done)}")
    wrong = judge(taken) + [f"a client: {fault}" for fault in people.faults[:10]]
    if people.done["stayed"] != STAYING * count:
        wrong.append(f"{STAYING} sessions that stayed answered {people.done['stayed']} times in {count} rounds")
    return wrong + [f"the log: {line}" for line in front.log.read_text().splitlines() if "session.bug" in line][:10]


def judge(samples: list[Sample]) -> list[str]:
    print(*growths(samples), f"all: {samples[0].mib:.1f} MiB in the first sample, {samples[-1].mib:.1f} in the last", sep="\n")
    return verdict(samples)


def run(minutes: float, workers: int, pace: float, samples: Path | None) -> list[str]:
    with ExitStack() as stack:
        place = stack.enter_context(workplace())
        (place / "certificates").mkdir()
        issued = certificates.issue(place / "certificates")
        users = USERS | mailbox.USERS
        personal, store = (
            stack.enter_context(Dovecot(place / name, users=users, owner=mailbox.OWNER, certificate=issued.certificate, key=issued.key))
            for name in ("personal", "store")
        )
        fill(personal.ports, store.ports)
        more = SETTINGS.format(workers=workers, store=f"{LOOPBACK}:{store.ports.imap}")
        front = Front(place / "front", personal.ports, issued, more=more)
        stack.callback(front.stop)
        front.start()
        assert front.child is not None
        pid = front.child.pid
        wait_until("the workers", lambda: len(family(pid)) == workers + 2, seconds=30)
        return soak(front, issued.authority, minutes * 60, pace, samples or place / "samples")


def main() -> int:
    parser = argparse.ArgumentParser(description="Mixed load for a long time; memory and descriptors must come back.")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--pace", type=float, default=0.0, help="visits a second in all; 0, which is the default: as many as can be")
    parser.add_argument("--samples", type=Path, help="where samples are written, a line of JSON each, when they are taken")
    parser.add_argument("--judge", type=Path, help="run nothing, judge the samples of this file")
    said = parser.parse_args()
    if said.judge:
        wrong = judge([Sample.read(line) for line in said.judge.read_text().splitlines()])
    else:
        wrong = run(said.minutes, said.workers, said.pace, said.samples)
    print("\n".join(wrong) if wrong else "all came back")
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
