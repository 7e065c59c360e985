"""The address of the page on which a meeting request is answered.

Rule of this file: a template and values in, an address out. Every value is percent-encoded, so nothing of a message reaches the scheme, the
host or a separator; what a template may not hold is told at start. The address depends only on what never changes for a message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Formatter
from typing import Final
from urllib.parse import quote

PRESETS: Final = {
    "exchange-2003": "/exchange/{alias}/Inbox/{subject}.EML?Cmd=open",
    "roundcube": "/?_task=mail&_action=show&_mbox={mailbox}&_uid={uid}",
    "sogo": "/SOGo/so/{user}/Mail/view#!/Mail/0/{mailbox}/{uid}",
    "horde": "/imp/dynamic.php?page=message&mailbox={mailbox64}&buid={uid}",
    "zimbra": "/home/~/{mailbox}?imap_id={uid}",
    "nextcloud": "/apps/mail/open/{message_id}",
}
"""Paths of known webmails. OWA since Exchange 2007 wants an id that IMAP does not have: `template` only."""
VARIABLES: Final = {
    "user": "the name with which the reader has signed in",
    "alias": "what stands before the @ in it",
    "domain": "what stands behind it",
    "mailbox": "the mailbox, as IMAP names it",
    "mailbox64": "the same in base64 for addresses (RFC 4648 5), without =",
    "uid": "the message's UID; not on POP3",
    "message_id": "its Message-ID, without < and >",
    "subject": "its subject",
}
IMAP_ONLY: Final = frozenset(["mailbox", "mailbox64", "uid"])
_START: Final = re.compile(r"https?://[A-Za-z0-9.\-]+(?::\d{1,5})?(?=[/?#]|\Z)|https?://\[[0-9A-Fa-f:.]+\](?::\d{1,5})?(?=[/?#]|\Z)")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?\.?)+(?::\d{1,5})?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?")
_WRITTEN: Final = re.compile(r"[\x21-\x7e]+")


def names_in(template: str) -> list[str]:
    """The variables of a template. Raises ValueError with a sentence for one that cannot be used."""
    try:
        fields = [(name, form, conversion) for _, name, form, conversion in Formatter().parse(template) if name is not None]
    except ValueError:
        raise ValueError("a brace is not closed, or not opened; write {{ and }} for braces that are meant") from None
    for name, form, conversion in fields:
        if name not in VARIABLES or form or conversion:
            raise ValueError(f"{{{name}}} is no variable; possible: {', '.join(VARIABLES)}")
    return [name for name, _, _ in fields]


def check_template(template: str) -> str:
    """A whole address with variables. Raises ValueError."""
    names_in(template)
    if _START.match(template) is None:
        raise ValueError("it must begin with http:// or https:// and a host, and no variable may stand there")
    if _WRITTEN.fullmatch(template) is None:
        raise ValueError("it has spaces or characters that an address cannot have")
    return template


def check_host(host: str) -> str:
    """A host name or address, with a port or without. Raises ValueError."""
    if host and _HOST.fullmatch(host) is None:
        raise ValueError('a host is expected, as "mail.example.org" or "mail.example.org:8443"')
    return host


def fill(template: str, values: Mapping[str, str]) -> str:
    """The address. A value that is missing is empty."""
    return template.format_map({name: quote(values.get(name, ""), safe="") for name in VARIABLES})
