"""How much is measured.

Rule of this file: sizes and counts only; small enough that client, proxy and backend share two cores.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
GIB = 1 << 30

LINKS = ("fetch", "retr", "mail", "mail_each", "pop3_mail", "list_first", "list_again", "commands", "idle")
"""What meeting links cost."""
MEASURES = (
    "login",
    "resumed",
    "fetch",
    "retr",
    "append",
    "list",
    "command",
    "commands",
    "commands128",
    "logins64",
    "logins128",
    "idle",
    "growth",
)
ORDINARY = ("list_first", "mail_list", "mail", "pop3_mail")
"""In front of a Dovecot with ordinary mail in it, by targets of their own."""
MORE = ("pop3_login",)
"""Only when they are asked for."""


@dataclass(slots=True, frozen=True)
class Plan:
    rounds: int = 5
    sessions: int = 1500
    """Sessions of a login measure, 32 at once."""
    big: int = 200 * MIB
    """Octets of the message that is downloaded."""
    downloads: int = 3
    upload: int = 50 * MIB
    uploads: int = 8
    mails: int = 5
    """Downloads of a mailbox of ordinary mail, some 30 MiB."""
    lists: int = 20
    """Listings of 20,000 messages, each some 9 MiB."""
    commands: int = 8000
    """Round trips of one session; 64 sessions together make three times as many."""
    idle: tuple[int, ...] = (2000, 9000)
    """Sessions that stay in IDLE, rising; each round in fresh processes."""
    growths: int = 1
    """How it grows is measured in so many rounds."""
    measures: tuple[str, ...] = MEASURES
    ordinary: tuple[str, ...] = ORDINARY


WITH_LINKS = Plan(rounds=5, downloads=2, mails=4, lists=12, commands=4000, idle=(1000,), measures=LINKS, ordinary=())
QUICK = Plan(rounds=2, sessions=600, downloads=1, uploads=3, mails=2, lists=5, commands=2500, idle=(1000,), measures=MEASURES[:-1])

IDLE_STEPS = (1000, 2000, 5000, 9000)
ACTIVE_STEPS = (1, 4, 16, 64, 256)
LISTED_STEPS = (20_000, 100_000)
"""How it grows: sessions that stay, sessions at work, messages of a mailbox that is listed."""
