"""How much is measured.

Rule of this file: sizes and counts only; small enough that client, proxy and backend share two cores.
"""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
GIB = 1 << 30

LINKS = ("fetch", "retr", "mail", "mail_each", "pop3_mail", "list_first", "list_again", "commands", "idle")
"""What meeting links cost."""
MEASURES = ("login", "resumed", "pop3_login", "fetch", "retr", "append", "list", "command", "commands", "idle")


@dataclass(slots=True, frozen=True)
class Plan:
    rounds: int = 3
    sessions: int = 2000
    """Sessions of a login measure, 32 at once."""
    big: int = 200 * MIB
    """Octets of the message that is downloaded."""
    downloads: int = 3
    upload: int = 50 * MIB
    uploads: int = 8
    mails: int = 10
    """Downloads of a mailbox of ordinary mail, some 30 MiB."""
    lists: int = 20
    """Listings of 20,000 messages, each some 9 MiB."""
    commands: int = 8000
    """Round trips of one session; 64 sessions together make three times as many."""
    idle: tuple[int, ...] = (2000,)
    """Sessions that stay in IDLE, rising; measured first, in fresh processes."""
    measures: tuple[str, ...] = MEASURES


WITH_LINKS = Plan(rounds=5, downloads=2, mails=4, lists=12, commands=4000, idle=(1000,), measures=LINKS)
QUICK = Plan(rounds=2, sessions=600, downloads=1, uploads=3, mails=3, lists=5, commands=2500, idle=(1000,))
