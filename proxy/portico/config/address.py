"""Addresses as they stand in settings: ``host:port``, ``[v6]:port``, ``unix:/path``.

Rule of this file: text in, values out; nothing is resolved.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

_MAX_UNIX: Final = 107
"""Octets of a path that fit into sockaddr_un (unix(7))."""
_HOST: Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62})(?:\.[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,62}))*\.?")
FORMS: Final = '"host:port", "[v6]:port" or "unix:/path"'


@dataclass(frozen=True, slots=True)
class Address:
    """Either `path` (a unix socket) or `host` and `port`."""

    host: str = ""
    """Without brackets; an IP address in its shortest form."""
    port: int = 0
    path: str = ""

    @property
    def local(self) -> bool:
        """Only this machine can be at it, or listen to what passes: loopback and unix sockets."""
        if self.path:
            return True
        try:
            return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return self.host == "localhost" or self.host.endswith(".localhost")  # RFC 6761 6.3

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str, *, any_port: bool = False) -> Address:
    """The parts of an address. `any_port`: port 0 is possible (the system chooses one, for listeners).

    Raises ValueError with a sentence that says what is possible and never repeats the text.
    """
    if text.startswith("unix:"):
        path = text[5:]
        if not path.startswith("/") or "\0" in path:
            raise ValueError('a unix socket has an absolute path, as "unix:/run/portico/imap"')
        if len(path.encode()) > _MAX_UNIX:
            raise ValueError(f"the path of a unix socket has at most {_MAX_UNIX} octets")
        return Address(path=path)
    if "@" in text:
        raise ValueError(f"an address has no user and no password in it; expected is {FORMS}")
    host, colon, port = text.rpartition(":")
    if not colon or not re.fullmatch(r"[0-9]{1,5}", port):
        raise ValueError(f"an address with its port is expected, as {FORMS}")
    number = int(port)
    if number > 65535 or (number == 0 and not any_port):
        raise ValueError(f"a port is a number from {0 if any_port else 1} to 65535")
    if host.startswith("[") and host.endswith("]"):
        try:
            return Address(str(ipaddress.IPv6Address(host[1:-1])), number)
        except ValueError:
            raise ValueError("an IPv6 address is expected between the brackets") from None
    if ":" in host:
        raise ValueError('an IPv6 address stands in brackets, as "[::1]:993"')
    if host in ("", "*"):
        raise ValueError('a host is expected; all addresses are "0.0.0.0:port" and "[::]:port"')
    if re.fullmatch(r"[0-9.]+", host):
        try:
            return Address(str(ipaddress.IPv4Address(host)), number)
        except ValueError:
            raise ValueError("an IPv4 address has four numbers from 0 to 255") from None
    if not _HOST.fullmatch(host):
        raise ValueError(f"an address is expected, as {FORMS}")
    return Address(host.lower(), number)
