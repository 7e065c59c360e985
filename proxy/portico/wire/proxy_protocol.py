"""The PROXY protocol, versions 1 and 2: what a balancer says before the client's first octet (HAProxy's proxy-protocol.txt).

Rule of this file: octets in, a Header out or a PeerError; nothing behind the header is looked at. It believes nothing and nobody: whether
a peer may say such a thing is not known here. Sections are those of proxy-protocol.txt.
"""

from __future__ import annotations

import ipaddress
import struct
from dataclasses import dataclass
from functools import cache
from typing import Final

from portico.errors import PeerError

SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_V1: Final = b"PROXY "
_V1_LONGEST: Final = 107  # 2.1, with its line end
_V2_FIXED: Final = 16
_V2_LONGEST: Final = 4096
"""Octets behind the fixed part that are taken; balancers send some hundred at most."""
_ADDRESSES: Final = {0x1: 12, 0x2: 36, 0x3: 216}
"""Octets of the addresses by family: AF_INET, AF_INET6, AF_UNIX (2.2)."""
_STREAM: Final = 1
_AUTHORITY, _CRC32C, _UNIQUE_ID, _SSL = 0x02, 0x03, 0x05, 0x20
_SSL_VERSION, _SSL_CN, _SSL_CIPHER = 0x21, 0x22, 0x23
_CLIENT_SSL, _CLIENT_CERT_CONN, _CLIENT_CERT_SESS = 0x01, 0x02, 0x04
_MOST_UNIQUE_ID: Final = 128  # 2.2.5

Endpoint = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Tls:
    """What is said of the client's TLS."""

    version: str
    cipher: str = ""
    name: str = ""
    """The common name of a client certificate."""
    verified: bool = False
    """A client certificate was shown, and it was good."""


@dataclass(frozen=True, slots=True)
class Header:
    """Whose connection it is."""

    version: int
    length: int
    """Octets of the header; what follows is the client's."""
    source: Endpoint | None = None
    """None: the balancer's own connection (LOCAL), or it does not know (UNKNOWN, UNSPEC)."""
    destination: Endpoint | None = None
    unix: bool = False
    """The client came over a unix socket."""
    tls: Tls | None = None
    authority: str = ""
    """The name that the client asked for (SNI)."""
    unique_id: bytes = b""


def parse(data: bytes) -> Header | None:
    """The header that `data` begins with; None: more is needed. Raises PeerError for what is none, as soon as that is known."""
    if data[:1] == _V1[:1]:
        return _parse_v1(data)
    if not SIGNATURE.startswith(data[:12]):
        raise PeerError("No PROXY header", fatal=True)
    return _parse_v2(data)


def _parse_v1(data: bytes) -> Header | None:
    if not data.startswith(_V1[: len(data)]):
        raise PeerError("No PROXY header", fatal=True)
    end = data.find(b"\n", 0, _V1_LONGEST) - 1
    if end < 0:
        if len(data) >= _V1_LONGEST:
            raise PeerError("PROXY header without end", fatal=True)
        return None
    if data[end : end + 1] != b"\r":
        raise PeerError("PROXY header with a bare line end", fatal=True)
    words = data[:end].split(b" ")
    if words[1] == b"UNKNOWN":  # 2.1: what follows is to be ignored
        return Header(1, end + 2)
    if words[1] not in (b"TCP4", b"TCP6") or len(words) != 6:
        raise PeerError("PROXY header that cannot be understood", fatal=True)
    version = 4 if words[1] == b"TCP4" else 6
    source, destination = _endpoint(words[2], words[4], version), _endpoint(words[3], words[5], version)
    return Header(1, end + 2, source, destination)


def _endpoint(address: bytes, port: bytes, version: int) -> Endpoint:
    try:
        parsed = ipaddress.ip_address(address.decode("ascii"))
        number = int(port) if port.isdigit() and len(port) <= 5 else -1
    except ValueError:
        number = -1
    if number < 0 or number > 0xFFFF or parsed.version != version or b"%" in address:
        raise PeerError("PROXY header that cannot be understood", fatal=True)
    return usual(parsed), number


def usual(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """The address in its usual spelling. An IPv4 address mapped into IPv6 (a balancer with sockets for both says so) is the IPv4 address:
    who looks for one in the log, or in a list, has to find it."""
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _parse_v2(data: bytes) -> Header | None:
    if len(data) < _V2_FIXED:
        return None
    command, family, length = struct.unpack_from("!BBH", data, len(SIGNATURE))
    if command >> 4 != 2 or command & 0xF > 1:
        raise PeerError("PROXY header of an unknown version or command", fatal=True)
    if length > _V2_LONGEST:
        raise PeerError("PROXY header too long", fatal=True)
    total = _V2_FIXED + length
    if len(data) < total:
        return None
    header = data[:total]
    size = _ADDRESSES.get(family >> 4, 0)
    if size > length:
        raise PeerError("PROXY header too short", fatal=True)
    values = _values(header[_V2_FIXED + size :], header, _V2_FIXED + size)
    if command & 0xF == 0:  # 2.2: LOCAL, and what it says of addresses is to be discarded
        return Header(2, total)
    source = destination = None
    if family in (0x11, 0x21):
        source, destination = _addresses(header[_V2_FIXED : _V2_FIXED + size])
    unix = family == 0x31
    authority = values.get(_AUTHORITY, b"").decode("utf-8", "replace")
    if source is None and not unix:
        return Header(2, total)  # UNSPEC, and what is no stream: as if it had not been said
    tls = _tls(values[_SSL]) if _SSL in values else None
    return Header(2, total, source, destination, unix, tls, authority, values.get(_UNIQUE_ID, b"")[:_MOST_UNIQUE_ID])


def _addresses(octets: bytes) -> tuple[Endpoint, Endpoint]:
    half = (len(octets) - 4) // 2
    ports = struct.unpack("!HH", octets[2 * half :])
    return (
        (usual(ipaddress.ip_address(octets[:half])), ports[0]),
        (usual(ipaddress.ip_address(octets[half : 2 * half])), ports[1]),
    )


def _values(octets: bytes, header: bytes = b"", start: int = 0) -> dict[int, bytes]:
    """Type-Length-Value vectors (2.2); of two of a type the last. `header`: the whole, which a checksum in it must fit; `octets` is
    its end from `start` on."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(octets):
        if len(octets) - at < 3:
            raise PeerError("PROXY header that cannot be understood", fatal=True)
        kind, length = struct.unpack_from("!BH", octets, at)
        value = octets[at + 3 : at + 3 + length]
        if len(value) < length:
            raise PeerError("PROXY header that cannot be understood", fatal=True)
        if kind == _CRC32C and header:
            place = start + at + 3
            if length != 4 or struct.unpack("!I", value)[0] != crc32c(header[:place] + bytes(4) + header[place + 4 :]):
                raise PeerError("PROXY header with a wrong checksum", fatal=True)
        found[kind] = value
        at += 3 + length
    return found


def _tls(octets: bytes) -> Tls | None:
    if len(octets) < 5:
        raise PeerError("PROXY header that cannot be understood", fatal=True)
    flags, verify = struct.unpack_from("!BI", octets)
    if not flags & _CLIENT_SSL:
        return None
    values = {kind: value.decode("utf-8", "replace") for kind, value in _values(octets[5:]).items()}
    verified = verify == 0 and bool(flags & (_CLIENT_CERT_CONN | _CLIENT_CERT_SESS))
    return Tls(values.get(_SSL_VERSION, ""), values.get(_SSL_CIPHER, ""), values.get(_SSL_CN, ""), verified)


# -- saying it


def compose(
    version: int,
    source: Endpoint | None,
    destination: Endpoint | None,
    *,
    tls: Tls | None = None,
    authority: str = "",
    unique_id: bytes = b"",
) -> bytes:
    """The header of a client's connection. No source: one that came over a unix socket, or nobody knows from where. Version 1 says nothing
    of TLS."""
    ends = _same_family(source, destination)
    if version == 1:
        if ends is None:
            return b"PROXY UNKNOWN\r\n"
        (one, one_port), (two, two_port) = ends
        return f"PROXY TCP{one.version} {one} {two} {one_port} {two_port}\r\n".encode()
    family, addresses = 0x00, b""
    if ends is not None:
        (one, one_port), (two, two_port) = ends
        family = 0x11 if one.version == 4 else 0x21
        addresses = one.packed + two.packed + struct.pack("!HH", one_port, two_port)
    values = b""
    if authority:
        values += _value(_AUTHORITY, authority.encode()[:255])
    if unique_id:
        values += _value(_UNIQUE_ID, unique_id[:_MOST_UNIQUE_ID])
    if tls is not None:
        flags = _CLIENT_SSL | (_CLIENT_CERT_CONN | _CLIENT_CERT_SESS if tls.verified else 0)
        inner = struct.pack("!BI", flags, 0 if tls.verified else 1) + _value(_SSL_VERSION, tls.version.encode())
        if tls.name and tls.verified:
            inner += _value(_SSL_CN, tls.name.encode()[:255])
        if tls.cipher:
            inner += _value(_SSL_CIPHER, tls.cipher.encode())
        values += _value(_SSL, inner)
    return SIGNATURE + struct.pack("!BBH", 0x21, family, len(addresses) + len(values)) + addresses + values


def compose_local(version: int) -> bytes:
    """The header of a connection of our own, for nobody: a question about health."""
    return b"PROXY UNKNOWN\r\n" if version == 1 else SIGNATURE + b"\x20\0\0\0"


_Ip = ipaddress.IPv4Address | ipaddress.IPv6Address


def _same_family(source: Endpoint | None, destination: Endpoint | None) -> tuple[tuple[_Ip, int], tuple[_Ip, int]] | None:
    """Both as addresses of one family: IPv4 beside IPv6 becomes a mapped one. None: they are none."""
    if source is None or destination is None:
        return None
    try:
        one, two = (ipaddress.ip_address(host.partition("%")[0]) for host, _ in (source, destination))
    except ValueError:
        return None
    if one.version != two.version:
        one, two = (ipaddress.IPv6Address(f"::ffff:{each}") if each.version == 4 else each for each in (one, two))
    return (one, source[1]), (two, destination[1])


def _value(kind: int, octets: bytes) -> bytes:
    return struct.pack("!BH", kind, len(octets)) + octets


@cache
def _crc_table() -> tuple[int, ...]:
    table = []
    for octet in range(256):
        for _ in range(8):
            octet = octet >> 1 ^ (0x82F63B78 if octet & 1 else 0)
        table.append(octet)
    return tuple(table)


def crc32c(octets: bytes) -> int:
    """RFC 4960 appendix B."""
    table, crc = _crc_table(), 0xFFFFFFFF
    for octet in octets:
        crc = crc >> 8 ^ table[(crc ^ octet) & 0xFF]
    return crc ^ 0xFFFFFFFF
