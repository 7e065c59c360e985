"""The PROXY protocol: what is understood of any octets, cut anywhere, and that what we say is understood."""

from __future__ import annotations

import ipaddress
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from portico.errors import PeerError
from portico.wire.proxy_protocol import SIGNATURE, Header, Tls, compose, compose_local, crc32c, parse, usual

V1 = b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 993\r\n"
CLIENT, US = ("2001:db8::7", 40000), ("2001:db8::1", 993)
V2 = compose(2, CLIENT, US, tls=Tls("TLSv1.3", "TLS_AES_128_GCM_SHA256", "alice", True), authority="mail.example.org", unique_id=b"0sx1")


def v2(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def test_version_1_says_who_comes_and_nothing_behind_its_line_is_looked_at() -> None:
    header = parse(V1 + b"\x16\x03\x01")
    assert header == Header(1, len(V1), ("192.0.2.7", 40000), ("192.0.2.1", 993))


def test_version_2_says_also_what_is_known_of_tls() -> None:
    header = parse(V2 + b"a LOGIN")
    assert header is not None and header.length == len(V2)
    assert (header.source, header.destination, header.authority, header.unique_id) == (CLIENT, US, "mail.example.org", b"0sx1")
    assert header.tls == Tls("TLSv1.3", "TLS_AES_128_GCM_SHA256", "alice", True)


@pytest.mark.parametrize(
    "header", [b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN ::1 ::2 1 2\r\n", compose_local(1), compose_local(2), v2(0x21, 0, b"")]
)
def test_a_connection_of_the_balancers_own_has_no_source(header: bytes) -> None:
    parsed = parse(header)
    assert parsed is not None and (parsed.source, parsed.unix, parsed.length) == (None, False, len(header))


def test_local_discards_the_addresses_that_it_says() -> None:
    parsed = parse(v2(0x20, 0x11, bytes([10, 0, 0, 1, 10, 0, 0, 2, 1, 2, 3, 4])))
    assert parsed is not None and parsed.source is None


def test_a_unix_socket_and_a_datagram_have_no_address() -> None:
    unix, datagram = parse(v2(0x21, 0x31, bytes(216))), parse(v2(0x21, 0x12, bytes(12)))
    assert unix is not None and unix.unix and unix.source is None
    assert datagram is not None and not datagram.unix and datagram.source is None


@pytest.mark.parametrize(
    "octets",
    [
        b"\x16\x03\x01",
        b"* OK",
        b"PROXX",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 40000\r\n",
        b"PROXY TCP4 2001:db8::1 192.0.2.1 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 65536 1\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 -1 1\r\n",
        b"PROXY TCP4 192.0.2.007 192.0.2.1 1 1\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 1 1\n",
        b"PROXY UNKNOWN \n\r\n",
        b"PROXY \r\n",
        b"PROXY " + b"x" * 101,
        v2(0x11, 0x11, bytes(12)),
        v2(0x22, 0x11, bytes(12)),
        v2(0x21, 0x11, bytes(11)),
        v2(0x21, 0x11, bytes(12) + b"\x01\0"),
        v2(0x21, 0x11, bytes(12) + b"\x01\0\x05abc"),
        v2(0x21, 0x11, bytes(12) + b"\x20\0\x01\x01"),
        SIGNATURE + b"\x21\x11\x10\x01",
    ],
)
def test_what_is_no_header_is_refused_as_soon_as_that_is_known(octets: bytes) -> None:
    with pytest.raises(PeerError) as raised:
        parse(octets)
    assert raised.value.fatal


def test_a_checksum_must_fit() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    bare = v2(0x21, 0x11, bytes(12) + b"\x03\0\x04" + bytes(4))
    good = bare[:-4] + struct.pack("!I", crc32c(bare))
    assert parse(good) is not None
    with pytest.raises(PeerError, match="checksum"):
        parse(good[:20] + b"\x01" + good[21:])


@given(st.binary(max_size=300), st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21\x11\0\x20", V2[:40]]))
@settings(max_examples=300)
def test_any_octets_give_a_header_or_a_wish_for_more_or_a_peer_error(octets: bytes, before: bytes) -> None:
    data = before + octets
    try:
        header = parse(data)
    except PeerError:
        return
    if header is None:
        assert len(data) < 16 + 4096
    else:
        assert header.length <= len(data)


@given(st.sampled_from([V1, V2, compose_local(1), compose_local(2)]), st.binary(max_size=40), st.data())
def test_however_a_header_is_cut_it_is_the_same(header: bytes, behind: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(header) - 1))
    assert parse(header[:cut]) is None
    assert parse(header) == parse(header + behind)


addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
ends = st.tuples(addresses, st.integers(0, 65535))


@given(st.sampled_from([1, 2]), ends, ends)
def test_what_we_say_is_understood(version: int, source: tuple[str, int], destination: tuple[str, int]) -> None:
    source, destination = _unmapped(source), _unmapped(destination)
    header = parse(compose(version, source, destination))
    assert header is not None and header.source is not None and header.destination is not None
    assert (header.source[1], header.destination[1]) == (source[1], destination[1])
    assert (header.source[0], header.destination[0]) == (source[0], destination[0])  # beside IPv6 an IPv4 address goes as a mapped one


def _unmapped(end: tuple[str, int]) -> tuple[str, int]:
    return usual(ipaddress.ip_address(end[0])), end[1]


@pytest.mark.parametrize(
    "header", [b"PROXY TCP6 ::ffff:192.0.2.7 2001:db8::1 5000 993\r\n", compose(2, ("192.0.2.7", 5000), ("2001:db8::1", 993))]
)
def test_an_ipv4_address_mapped_into_ipv6_is_the_ipv4_address(header: bytes) -> None:
    found = parse(header)
    assert found is not None and found.source == ("192.0.2.7", 5000) and found.destination == ("2001:db8::1", 993)


def test_who_comes_over_a_unix_socket_has_no_address_to_say() -> None:
    assert compose(1, None, None) == b"PROXY UNKNOWN\r\n"
    assert compose(1, ("", 0), ("", 0)) == b"PROXY UNKNOWN\r\n"
    said = parse(compose(2, ("", 0), ("", 0), unique_id=b"x"))
    assert said is not None and said.source is None
