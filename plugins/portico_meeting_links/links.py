"""The address of the page on which a meeting request is answered.

Rule of this file: a template and values in, an address out. Every value is percent-encoded, so nothing of a message reaches the scheme, the
host or a separator; what a template may not hold is told at start. No link is better than a dead one: where a value is missing, would be
a step in the path (``..``), or has a ``/`` that would stand in the path (web servers refuse %2F there, or take it for a step), there is
none. The address depends only on what never changes for a message.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Formatter
from typing import Final
from urllib.parse import quote

PRESETS: Final = {
    "exchange-2003": "/exchange/{alias}/Inbox/{item}.EML?Cmd=open",
    "roundcube": "/?_task=mail&_action=show&_mbox={mailbox}&_uid={uid}",
    "sogo": "/SOGo/so/{user}/Mail/view#!/Mail/0/{mailbox_twice}/{uid}",
    "horde": "/imp/dynamic.php?page=message&mailbox={mailbox64}&buid={uid}",
    "zimbra": "/?view=msg&id={uid}",
    "nextcloud": "/apps/mail/open/{message_id}",
}
"""Paths of known webmails; what of each was read in its own code is in docs/how-to/meeting-links.md. OWA since Exchange 2007 wants an id
that IMAP does not have: `template` only."""
ONLY_INBOX: Final = frozenset(["exchange-2003", "zimbra"])
"""Presets whose links lead to the inbox, or are sure only there: Zimbra's id of a message is its UID until it is moved."""
VARIABLES: Final = {
    "user": "the name with which the reader has signed in",
    "alias": "what stands before the @ in it",
    "domain": "what stands behind it",
    "mailbox": "the mailbox, as IMAP names it",
    "mailbox64": "the same in base64 for addresses (RFC 4648 5), without =",
    "mailbox_twice": "the mailbox, percent-encoded twice, for addresses that a program in the browser takes apart",
    "folder": "the mailbox in Unicode, not in modified UTF-7",
    "server": "the server of the settings that holds the mailbox",
    "uid": "the message's UID; not on POP3",
    "message_id": "its Message-ID, without < and >",
    "subject": "its subject",
    "item": "the same as Exchange 2003 writes it in addresses: _xF8FF_ for /, and so on",
}
IMAP_ONLY: Final = frozenset(["mailbox", "mailbox64", "mailbox_twice", "folder", "uid"])
_ITEM: Final = str.maketrans({"/": "_xF8FF_", "\\": "_xF8FE_", "?": "_x003F_", "~": "_x007E_"})
_START: Final = re.compile(r"https?://[A-Za-z0-9.\-]+(?::\d{1,5})?(?=[/?#]|\Z)|https?://\[[0-9A-Fa-f:.]+\](?::\d{1,5})?(?=[/?#]|\Z)")
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9\-]{0,61}[A-Za-z0-9])?"
_HOST: Final = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*+\.?|\[[0-9A-Fa-f:.]+\])(?::\d{{1,5}})?")
_WRITTEN: Final = re.compile(r"[\x21\x23-\x3b\x3d\x3f-\x5b\x5d\x5f\x61-\x7e]+")
"""What an address can hold (RFC 3986), and the braces."""
_PATH: Final = re.compile(r"(?:/[A-Za-z0-9\-._~%!$&'()*+,;=:@]*)*")
_STEPS: Final = frozenset([".", ".."])
MOST_OF_AN_ADDRESS: Final = 2000
"""Octets; some browsers and servers take no more. (A 7bit or 8bit part has lines of 998, which is the mechanism's to know.)"""


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
    if _steps(template):
        raise ValueError("its path has a step . or ..")
    return template


def check_path(path: str) -> str:
    """What stands between the host and a preset. Raises ValueError."""
    if _PATH.fullmatch(path) is None or _steps(path):
        raise ValueError('a path is expected, as "/roundcube", and no variable may stand there')
    return path


def check_host(host: str) -> str:
    """A host name or address, with a port or without. Raises ValueError."""
    if host and _HOST.fullmatch(host) is None:
        raise ValueError('a host is expected, as "mail.example.org" or "mail.example.org:8443"')
    return host


def fill(template: str, values: Mapping[str, str]) -> str | None:
    """The address; None: a value for it is missing, or none that an address can carry."""
    encoded = {}
    if any("/" in values.get(name, "") for name in names_in(re.split(r"[?#]", template, maxsplit=1)[0])):
        return None
    for name in names_in(template):
        encoded[name] = quote(values.get(name, ""), safe="", errors="replace")
        if not encoded[name]:
            return None
    address = template.format_map(encoded)
    return None if _steps(address) or len(address) > MOST_OF_AN_ADDRESS else address


def item(subject: str) -> str:
    """The name of a message among the items of Exchange 2003 (the encoding is that of Evolution's connector; Microsoft has not told it)."""
    return subject.translate(_ITEM)


def beginning(template: str) -> str:
    """What all links of a template begin with; empty: that is no more than a host."""
    literal = next(iter(Formatter().parse(template)))[0]
    return literal if _START.sub("", literal, count=1).strip("/?#") else ""


def _steps(address: str) -> bool:
    """Whether a browser would take a part of the path for a step upwards (RFC 3986 5.2.4), written in any way."""
    return any(step.lower().replace("%2e", ".") in _STEPS for step in re.split(r"[/?#]", address))
