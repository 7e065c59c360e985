"""What a proxy in front says of the client, by IMAP ID or POP3 XCLIENT, in Dovecot's names and meaning.

Rule of this file: what is said is believed only from those who may say it (`Context.trusted`), whole or not at all; from then on the
client's address is the one said, for everybody who asks for it. The number of proxies that may still follow is taken from anybody, as long
as it makes it less: whoever lies about it harms himself, and a circle of proxies that do not trust each other ends too.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from portico.errors import PeerError
from portico.session.context import HOPS, Context, Peer
from portico.session.decisions import Decision, Record
from portico.wire.proxy_protocol import usual

_ID: Final = {
    "x-originating-ip": "rip",
    "x-originating-port": "rport",
    "x-connected-ip": "lip",
    "x-connected-port": "lport",
    "x-proxy-ttl": "ttl",
    "x-session-id": "session",
    "x-session-ext-id": "session",
}
_XCLIENT: Final = {"ADDR": "rip", "PORT": "rport", "SESSION": "session", "TTL": "ttl"}
_SESSION_ID: Final = re.compile(r"[\x21-\x7e]{1,128}\Z")


def said_by_id(name: str) -> str | None:
    """What a name of an ID list is about: rip, rport, lip, lport, ttl, session; None: not about the client's connection."""
    return _ID.get(name)


def said_by_xclient(arguments: bytes) -> dict[str, str]:
    """The arguments of XCLIENT, by what they are about; others (FORWARD, and names to come) are passed over. Raises PeerError."""
    said: dict[str, str] = {}
    for word in arguments.split():
        name, equals, value = word.decode("latin-1").partition("=")
        if not equals:
            raise PeerError("XCLIENT takes NAME=value")
        about = _XCLIENT.get(name.upper())
        if about is not None:
            said[about] = value.removeprefix("IPV6:")
    return said


class Origin:
    """Whom a session comes from, as far as it is said before login. One per session."""

    __slots__ = ("_context", "_ignored", "_own")

    def __init__(self, context: Context) -> None:
        self._context = context
        self._own: Peer | None = None
        """The connection itself, once something else has been said."""
        self._ignored = False

    def said(self, how: str, words: Mapping[str, str], out: list[Decision]) -> bool:
        """A proxy (or somebody) has said this. False: it is not believed, or makes no sense."""
        context = self._context
        ttl = _number(words.get("ttl", ""), 255)
        if ttl is not None:
            context.hops = min(context.hops, ttl)
        if not set(words) - {"ttl"}:
            return True
        if not context.trusted:
            if not self._ignored:
                self._ignored = True
                out.append(Record("session.forwarding_ignored", {"how": how}))
            return False
        rip, lip = _address(words.get("rip")), _address(words.get("lip"))
        rport, lport = _number(words.get("rport", "0"), 65535), _number(words.get("lport", "0"), 65535)
        session = words.get("session", "")
        if None in (rip, lip, rport, lport) or (session and not _SESSION_ID.match(session)):
            return False
        peer = context.peer
        if self._own is None:
            self._own = replace(peer)
        if rip:
            peer.real_rip = peer.real_rip or self._own.rip
            peer.rip, peer.rport = rip, rport or 0
        if lip:
            peer.lip, peer.lport = lip, lport or 0
        context.outer_id = session or context.outer_id
        fields = {"how": how} | ({"outer_session": session} if session else {})
        out.append(Record("session.forwarded", fields))
        return True

    def forget(self) -> None:
        """TLS begins: what was said before is not believed (RFC 9051 6.2.1, RFC 2595 4)."""
        context, own = self._context, self._own
        context.hops, context.outer_id = HOPS, ""
        if own is not None:
            peer = context.peer
            peer.rip, peer.rport, peer.lip, peer.lport, peer.real_rip = own.rip, own.rport, own.lip, own.lport, own.real_rip
            self._own = None


def _address(text: str | None) -> str | None:
    """The address in its usual spelling; empty: none was said; None: it is none."""
    if text is None:
        return ""
    try:
        return usual(ipaddress.ip_address(text)) if "%" not in text else None
    except ValueError:
        return None


def _number(text: str, most: int) -> int | None:
    if not text.isascii() or not text.isdigit() or len(text) > 5:
        return None
    number = int(text)
    return number if number <= most else None
