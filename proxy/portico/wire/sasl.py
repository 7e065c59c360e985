"""SASL: the mechanisms that Portico speaks itself, on either side.

Rule of this file: octets in, octets out; a mechanism is a small object with `step`. Passwords and tokens are `Secret`
and are revealed only in the message that carries them. Mechanisms that are not here are relayed line by line by
the sessions. RFC 4422 (framework, EXTERNAL), RFC 4616 (PLAIN), RFC 7628 (OAUTHBEARER), draft-murchison-sasl-login (LOGIN);
XOAUTH2 as its providers document it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Final

from portico.errors import PeerError, Secret

SPOKEN: Final = frozenset(("PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER", "EXTERNAL"))
"""What we speak as a server; any other mechanism is relayed."""
MAX_NAME: Final = 512
"""Octets of a user name (RFC 5321 4.5.3.1 allows 64 + 1 + 255 for an address)."""
BEARER: Final = frozenset(("XOAUTH2", "OAUTHBEARER"))


class Cancelled(PeerError):
    """The client sent ``*`` (RFC 4422 3.5)."""

    def __init__(self) -> None:
        super().__init__("Authentication cancelled")


@dataclass(slots=True, frozen=True)
class Challenge:
    """What we say, before base64."""

    data: bytes


@dataclass(slots=True, frozen=True)
class Credentials:
    """What the client wants to sign in with."""

    mechanism: str
    user: str
    password: Secret | None
    authzid: str = ""


def encode(octets: bytes) -> bytes:
    return binascii.b2a_base64(octets, newline=False)


def decode(line: bytes) -> bytes:
    """The octets of a base64 line. Raises PeerError, or Cancelled for ``*``."""
    if line == b"*":
        raise Cancelled
    try:
        return base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError):
        raise PeerError("Invalid base64") from None


def decode_initial(argument: bytes) -> bytes:
    """An initial response; ``=`` is an empty one (RFC 4959 3, RFC 5034 4)."""
    return b"" if argument == b"=" else decode(argument)


def identity(octets: bytes, what: str = "user name") -> str:
    """A user name or authorization identity. Raises PeerError for what is too long for the log, is not UTF-8 or holds control
    characters: they could become lines of their own on the way to a server."""
    if len(octets) > MAX_NAME:
        raise PeerError(f"The {what} is too long")
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise PeerError(f"The {what} is not UTF-8") from None
    # Printable is more than that, and mostly all that there is to ask.
    if not text.isprintable() and any(character < " " or character == "\x7f" for character in text):
        raise PeerError(f"Control character in the {what}")
    return text


def password(octets: bytes) -> Secret:
    """A password or token. Raises PeerError for NUL, CR and LF."""
    if b"\0" in octets or b"\r" in octets or b"\n" in octets:
        raise PeerError("NUL, CR or LF in the password")
    return Secret(octets)


def name_in(mechanism: str, response: bytes) -> str:
    """The user name in a client's first response of a mechanism that is relayed (before base64).

    SCRAM (RFC 5802 7, ``n=``), DIGEST-MD5 (RFC 2831 2.1.2, ``username=``), CRAM-MD5 (RFC 2195 2). Raises PeerError where none can be
    read: whoever it is could not be limited or refused.
    """
    if mechanism.startswith("SCRAM-"):
        found = re.match(rb"[ny],(?:a=[^,]*)?,n=([^,]+),r=", response)
        name = found[1].replace(b"=2C", b",").replace(b"=3D", b"=") if found else b""
    elif mechanism == "DIGEST-MD5":
        found = re.search(rb'(?:^|,)\s*username="((?:[^"\\]|\\.)*)"', response)
        name = re.sub(rb"\\(.)", rb"\1", found[1]) if found else b""
    elif mechanism == "CRAM-MD5":
        name = response.rpartition(b" ")[0]
    else:
        name = b""
    if not name:
        raise PeerError("No user name")
    return identity(name)


def relayable(mechanism: str) -> bool:
    """Whether a mechanism that is not ours can be relayed: its user name can be read, and it is not bound to the TLS channel
    that ends here (RFC 5802's -PLUS)."""
    if mechanism.startswith("SCRAM-"):
        return not mechanism.endswith("-PLUS")
    return mechanism in ("CRAM-MD5", "DIGEST-MD5")


def offered(wanted: Collection[str], *, client_name: str | None, relayed: Collection[str], tokens: bool) -> list[str]:
    """The mechanisms of the settings that can be offered to a client: EXTERNAL to whom has a certificate with a name, those of bearer
    tokens if these may be of use (`tokens`), those that are not ours if the only server has them (`relayed`) and they can be relayed."""
    names = []
    for each in wanted:
        name = each.upper()
        if name == "EXTERNAL":
            if not client_name:
                continue
        elif name in BEARER:
            if not tokens:
                continue
        elif name not in SPOKEN and not (relayable(name) and name in relayed):
            continue
        names.append(name)
    return names


# -- the server's side: we speak to the client


@dataclass(slots=True)
class ServerMechanism:
    """One exchange with a client. `step` takes its response (None: it sent no initial one)."""

    name: str
    external_name: str | None = None
    _user: bytes | None = None
    _asked: bool = False

    def step(self, response: bytes | None) -> Challenge | Credentials:
        """The next challenge, or what the client wants. Raises PeerError where the response is malformed."""
        return _SERVER[self.name](self, response)

    def _plain(self, response: bytes | None) -> Challenge | Credentials:
        if response is None:
            return Challenge(b"")
        parts = response.split(b"\0")
        if len(parts) != 3 or not parts[1]:
            raise PeerError("Invalid PLAIN response")  # RFC 4616 2: [authzid] NUL authcid NUL passwd
        return Credentials("PLAIN", identity(parts[1]), password(parts[2]), identity(parts[0], "authorization identity"))

    def _login(self, response: bytes | None) -> Challenge | Credentials:
        if response is None:
            return Challenge(b"Username:")
        if self._user is None:
            if not response:
                raise PeerError("Empty user name")
            self._user = response
            return Challenge(b"Password:")
        return Credentials("LOGIN", identity(self._user), password(response))

    def _xoauth2(self, response: bytes | None) -> Challenge | Credentials:
        if response is None:
            return Challenge(b"")
        fields = dict(part.split(b"=", 1) for part in response.split(b"\x01") if b"=" in part)
        return Credentials("XOAUTH2", _named(fields.get(b"user", b"")), _bearer(fields.get(b"auth", b"")))

    def _oauthbearer(self, response: bytes | None) -> Challenge | Credentials:
        if response is None:
            return Challenge(b"")
        header, _, rest = response.partition(b"\x01")  # RFC 7628 3.1: gs2-header kvsep *kvpair kvsep
        flags = header.split(b",")
        if len(flags) != 3 or flags[0] not in (b"n", b"y") or not flags[1].startswith(b"a="):
            raise PeerError("Invalid OAUTHBEARER response")
        fields = dict(part.split(b"=", 1) for part in rest.split(b"\x01") if b"=" in part)
        name = flags[1][2:].replace(b"=2C", b",").replace(b"=3D", b"=")  # RFC 5801 4, saslname
        return Credentials("OAUTHBEARER", _named(name), _bearer(fields.get(b"auth", b"")))

    def _external(self, response: bytes | None) -> Challenge | Credentials:
        if not self.external_name:
            raise PeerError("No client certificate")
        if response is None:
            return Challenge(b"")
        return Credentials("EXTERNAL", self.external_name, None, identity(response, "authorization identity"))


_SERVER: Final[dict[str, Callable[[ServerMechanism, bytes | None], Challenge | Credentials]]] = {
    "PLAIN": ServerMechanism._plain,
    "LOGIN": ServerMechanism._login,
    "XOAUTH2": ServerMechanism._xoauth2,
    "OAUTHBEARER": ServerMechanism._oauthbearer,
    "EXTERNAL": ServerMechanism._external,
}


def start(name: str, *, external_name: str | None = None) -> ServerMechanism | None:
    """Begin mechanism `name` (upper case); None: not one of ours."""
    return ServerMechanism(name, external_name) if name in SPOKEN else None


def _named(octets: bytes) -> str:
    name = identity(octets)
    if not name:
        raise PeerError("No user name")
    return name


def _bearer(value: bytes) -> Secret:
    kind, _, token = value.partition(b" ")
    if kind.lower() != b"bearer" or not token.strip():
        raise PeerError("No bearer token")
    return password(token.strip())


# -- the client's side: we speak to the server


@dataclass(slots=True)
class ClientMechanism:
    """One exchange with a server. `initial` is the initial response before base64, None: the server speaks first."""

    name: str
    _first: Callable[[], bytes] | None
    _more: list[Callable[[], bytes]] = field(default_factory=list)
    _dummy: bytes | None = None

    @property
    def initial(self) -> bytes | None:
        return self._first() if self._first is not None else None

    def step(self, challenge: bytes) -> bytes:
        """The response to a challenge. Raises PeerError where the mechanism expects none."""
        if self._more:
            return self._more.pop(0)()
        if self._dummy is not None:
            return self._dummy  # RFC 7628 3.2.3: the challenge is an error; after this the server says NO
        raise PeerError("Unexpected challenge")

    def __repr__(self) -> str:
        return f"<ClientMechanism {self.name}>"


def plain(authzid: str, user: str, secret: Secret) -> ClientMechanism:
    return ClientMechanism("PLAIN", lambda: b"%b\0%b\0%b" % (authzid.encode(), user.encode(), secret.reveal()))


def login(user: str, secret: Secret) -> ClientMechanism:
    return ClientMechanism("LOGIN", None, [user.encode, secret.reveal])


def xoauth2(user: str, token: Secret) -> ClientMechanism:
    first = lambda: b"user=%b\x01auth=Bearer %b\x01\x01" % (user.encode(), token.reveal())  # noqa: E731
    return ClientMechanism("XOAUTH2", first, _dummy=b"")


def oauthbearer(user: str, token: Secret) -> ClientMechanism:
    name = user.replace("=", "=3D").replace(",", "=2C").encode()
    return ClientMechanism("OAUTHBEARER", lambda: b"n,a=%b,\x01auth=Bearer %b\x01\x01" % (name, token.reveal()), _dummy=b"\x01")


def external(authzid: str) -> ClientMechanism:
    return ClientMechanism("EXTERNAL", authzid.encode)


def choose(offered: Collection[str], mechanism: str, user: str, secret: Secret | None, master: str = "") -> ClientMechanism | None:
    """How to sign in at a server that offers `offered` (upper case), for a client that used `mechanism`.

    `secret`: its password or token. With `master`, `secret` is the master user's and `user` is who is acted for, by
    PLAIN's authorization identity. None: there is no way.
    """
    if secret is None:
        return None
    if master:
        return plain(user, master, secret) if "PLAIN" in offered else None
    if mechanism in BEARER:
        for name in (mechanism, *sorted(BEARER - {mechanism})):
            if name in offered:
                return xoauth2(user, secret) if name == "XOAUTH2" else oauthbearer(user, secret)
        return None
    if "PLAIN" in offered:
        return plain("", user, secret)
    return login(user, secret) if "LOGIN" in offered else None
