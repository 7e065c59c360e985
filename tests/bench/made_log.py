"""A made-up log of a day: as many lines as wanted, the same for the same seed.

Rule of this file: only events and fields of the registry (a test holds it to the schema), in shares as a busy site has them: most lines
are logins and the ends of sessions, some are refusals, and a few addresses try passwords all day.

    python -m tests.bench.made_log 5000000 /var/tmp/day.log
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

DAY: Final = datetime(2026, 3, 2, tzinfo=UTC)
_PROGRAMS: Final = (
    "Thunderbird 128.6.0", "Thunderbird 115.18.0", "Outlook-iOS 4.2451.1", "Mac OS X Mail 16.0", "iPhone Mail 22D63", "K-9 Mail 8.2",
    "com.samsung.android.email.provider 6.1", "Mutt 2.2.13", "mbsync 1.4.4", "Evolution 3.54",
)  # fmt: skip
_REASONS: Final = (
    ("logout", "client"), ("logout", "client"), ("logout", "client"), ("client_closed", "client"), ("client_closed", "client"),
    ("timeout_idle", "client"), ("client_reset", "client"), ("server_closed", "server"), ("kicked", "operator"),
)  # fmt: skip
_LEAD: Final = '{"timestamp":"%s","level":"%s","event":"%s","session":"%s","protocol":"%s","listener":"%s","rip":"%s","rport":%d,'
_LEAD_END: Final = '"lip":"192.0.2.1","lport":%d%s,"tls":"TLSv1.3","cipher":"TLS_AES_256_GCM_SHA384",'


def lines(count: int, *, seed: int = 1, users: int = 20_000) -> Iterator[str]:
    """So many lines, without line ends, in the order of their time."""
    chance = random.Random(seed)
    step = timedelta(days=1) / max(count, 1)
    now = DAY
    made = 0
    while made < count:
        for event, level, who, fields in _visit(chance, users):
            if made == count:
                return
            yield _line(now, event, level, who, fields)
            now += step
            made += 1


Who = tuple[str, str, str, int, str]
"""session, protocol, rip, rport, user."""


def _visit(chance: random.Random, users: int) -> Iterator[tuple[str, str, Who, dict[str, Any]]]:
    draw = chance.random()
    protocol = "imap" if chance.random() < 0.9 else "pop3"
    session = f"{chance.getrandbits(80):016x}"[:16]
    number = int(users * chance.random() ** 2)  # some are busier than others
    if draw < 0.04:
        intruder: Who = (
            session,
            protocol,
            f"198.51.100.{chance.randrange(12)}",
            chance.randrange(1024, 65536),
            f"user{number}@example.org",
        )
        yield "login.failed", "info", intruder, {
            "method": "PLAIN", "code": "AUTHENTICATIONFAILED", "reason": "refused_by_server", "side": "client", "text": "Authentication failed.",
            "server": "main",
        }  # fmt: skip
        yield "session.closed", "info", intruder, _closed(chance, "too_many_wrong_logins", "client", None)
        return
    who: Who = (session, protocol, f"203.0.{number % 113}.{number % 251}", chance.randrange(1024, 65536), f"user{number}@example.org")
    if draw < 0.05:
        fields = {"reason": "connect_refused", "detail": "Connection refused", "server": "mail2"}
        yield "upstream.failed", "warning", who, fields
        refusal = {"method": "PLAIN", "code": "UNAVAILABLE", "reason": "connect_refused", "side": "server", "server": "mail2"}
        yield "login.failed", "info", who, {**refusal, "text": "Your mail server is not reachable; try again later."}
        return
    server = f"mail{number % 4}"
    yield "login.succeeded", "info", who, {
        "address": f"10.0.0.{number % 4}:143", "seconds": round(chance.random() * 0.05, 4), "resumed": draw < 0.5, "method": "PLAIN",
        "server": server,
    }  # fmt: skip
    watched = draw > 0.6
    if watched:
        yield from _watched(chance, who, draw)
    reason, side = chance.choice(_REASONS)
    program = _PROGRAMS[number % len(_PROGRAMS)] if protocol == "imap" else None
    yield "session.closed", "info", who, {**_closed(chance, reason, side, program, watched=watched), "server": server, "method": "PLAIN"}


def _watched(chance: random.Random, who: Who, draw: float) -> Iterator[tuple[str, str, Who, dict[str, Any]]]:
    if draw > 0.998:
        error = {"plugin": "meeting_links", "hook": "annotator annotate", "error": "ValueError"}
        yield "plugin.failed", "error", who, error
    if draw > 0.98:
        yield "annotations.shown", "info", who, {"messages": chance.randint(1, 9)}
    if draw > 0.99:
        used = {"server": "folders", "prefix": "Public Folders", "asked": chance.randint(1, 30), "opened": chance.randint(0, 4)}
        yield "mount.used", "info", who, used
    if draw > 0.995:
        slow = {"command": chance.choice(("SEARCH", "FETCH", "SORT")), "result": "ok", "seconds": round(chance.uniform(5, 40), 3)}
        yield "command.slow", "warning", who, {**slow, "server": "main"}


def _closed(chance: random.Random, reason: str, side: str, program: str | None, *, watched: bool = False) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "reason": reason, "side": side, "bytes_in": chance.randrange(200, 20_000), "bytes_out": int(chance.paretovariate(0.8) * 900) % 50_000_000,
        "seconds": round(chance.expovariate(1 / 400), 3), "commands": chance.randrange(5, 400) if watched else None,
    }  # fmt: skip
    if program is not None:
        fields["client"] = program
    fields["mode"] = "watch" if watched else "tunnel"
    return fields


def _line(now: datetime, event: str, level: str, who: Who, fields: dict[str, Any]) -> str:
    session, protocol, rip, rport, user = who
    stamp = f"{now:%Y-%m-%dT%H:%M:%S.%f}+00:00"
    lead = _LEAD % (stamp, level, event, session, protocol, f"{protocol}s", rip, rport)
    return lead + _LEAD_END % (993 if protocol == "imap" else 995, f',"user":"{user}"') + json.dumps(fields, separators=(",", ":"))[1:]


if __name__ == "__main__":
    with Path(sys.argv[2]).open("w", encoding="utf-8") as file:
        file.writelines(line + "\n" for line in lines(int(sys.argv[1])))
