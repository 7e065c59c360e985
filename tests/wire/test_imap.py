"""IMAP syntax: what is understood is given back as values; anything else is a PeerError."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from portico.errors import PeerError
from portico.wire.capability import filter_imap, filter_pop3, imap_before_login, imap_line_before_login, imap_list, pop3_list
from portico.wire.imap import parse_arguments, parse_command, parse_fetch, parse_status, quote, tag_of, value_end


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"a1 noop", (b"a1", "NOOP", False, b"")),
        (b"a1 uid  fetch 1:* (FLAGS)", (b"a1", "FETCH", True, b"1:* (FLAGS)")),
        (b"a.1 LOGIN alice {3}", (b"a.1", "LOGIN", False, b"alice {3}")),
        (b"A001 SELECT ", (b"A001", "SELECT", False, b"")),
    ],
)
def test_a_command_is_cut_in_tag_name_and_arguments(line: bytes, expected: tuple[object, ...]) -> None:
    assert tuple(parse_command(line)) == expected


@pytest.mark.parametrize("line", [b"", b" ", b"a1", b"+ x", b"* NOOP", b"a1 UID", b"a{1 NOOP", b'"a" NOOP', b"a1 {3}"])
def test_what_is_no_command_is_refused(line: bytes) -> None:
    with pytest.raises(PeerError):
        parse_command(line)


def test_the_tag_is_found_where_there_is_one() -> None:
    assert (tag_of(b"a1 {broken"), tag_of(b"(("), tag_of(b"")) == (b"a1", b"*", b"*")


def test_arguments_are_atoms_strings_literals_and_lists() -> None:
    raw = b'INBOX "a \\"b\\" \\\\" {5}\r\nab cd (NIL "nil" (x)) {0}\r\n ~{2}\r\n\x00y'
    assert parse_arguments(raw) == [b"INBOX", b'a "b" \\', b"ab cd", [None, b"nil", [b"x"]], b"", b"\x00y"]


@given(st.binary(max_size=200))
def test_any_arguments_give_values_or_a_peer_error(raw: bytes) -> None:
    for parse in (parse_arguments, parse_fetch, parse_command):
        try:
            parse(raw)
        except PeerError:
            continue
    assert parse_status(b"OK " + raw) is not None


@given(st.binary(max_size=60))
def test_a_quoted_string_is_read_back_as_it_was(octets: bytes) -> None:
    quoted = quote(octets)
    if quoted is None:
        assert any(octet in b"\r\n\0" or octet > 0x7F for octet in octets)
    else:
        assert parse_arguments(quoted) == [octets]


def test_parentheses_without_end_are_refused_not_followed() -> None:
    with pytest.raises(PeerError):
        parse_arguments(b"(" * 100000)


def test_a_status_response_is_cut_in_kind_code_and_text() -> None:
    assert tuple(parse_status(b"NO [AUTHENTICATIONFAILED] Wrong.\r\n") or ()) == ("NO", "AUTHENTICATIONFAILED", b"", b"Wrong.")
    assert tuple(parse_status(b"ok [CAPABILITY A B=C] hi") or ()) == ("OK", "CAPABILITY", b"A B=C", b"hi")
    assert tuple(parse_status(b"OK") or ()) == ("OK", "", b"", b"")
    assert parse_status(b"OKAY x") is None


RAW = b'* 7 FETCH (UID 12 FLAGS (\\Seen "x") RFC822.SIZE 1234 BODY[HEADER.FIELDS (A B)]<0> {4}\r\na: b ENVELOPE (NIL "s)" (("a" NIL "b" "c"))) BODY[] NIL)\r\n'


def test_a_fetch_response_has_its_items_in_place() -> None:
    fetch = parse_fetch(RAW)
    assert (fetch.number, fetch.uid, fetch.value("RFC822.SIZE")) == (7, 12, b"1234")
    assert fetch.value("BODY[HEADER.FIELDS (A B)]<0>") == b"{4}\r\na: b"
    assert fetch.value("ENVELOPE") == b'(NIL "s)" (("a" NIL "b" "c")))'
    assert fetch.value("BODY[]") == b"NIL"


@pytest.mark.parametrize(
    ("items", "name", "value"),
    [
        (b"( UID 5  FLAGS () )", "UID", b"5"),
        (b"(uid 5)", "UID", b"5"),
        (b"(BODY[] NIL UID 5)", "BODY[]", b"NIL"),
        (b"(RFC822 {9}\r\n) UID 6 ( UID 5)", "UID", b"5"),
        (b"(BINARY[1.2]<0> ~{3}\r\n\x00)( UID 5)", "UID", b"5"),
        (b"(BINARY.SIZE[1] 9 UID 5)", "BINARY.SIZE[1]", b"9"),
        (b'(BODY[HEADER.FIELDS (From "To")] {2}\r\n\r\n UID 5)', 'BODY[HEADER.FIELDS (FROM "TO")]', b"{2}\r\n\r\n"),
        (b'(BODY[1.MIME]<10> "a\\") b" UID 5)', "BODY[1.MIME]<10>", b'"a\\") b"'),
        (
            b'(ENVELOPE (NIL "s" ((NIL NIL "a" "b")("x" NIL "c" "d")) NIL) UID 5)',
            "ENVELOPE",
            b'(NIL "s" ((NIL NIL "a" "b")("x" NIL "c" "d")) NIL)',
        ),
        (b'(X-GM-LABELS ("\\\\Inbox" \\Sent {3}\r\n)x() UID 5)', "UID", b"5"),
        (b"(MODSEQ (12) EMAILID (M1) PREVIEW NIL UID 5)", "MODSEQ", b"(12)"),
        (b'(BODYSTRUCTURE (("TEXT" "PLAIN" ("a" "b") NIL NIL "7BIT" 5 1)("X" "Y") "MIXED") UID 5)', "UID", b"5"),
        (b"(FLAGS (\\Seen $Label1 NonJunk]) UID 5)", "FLAGS", b"(\\Seen $Label1 NonJunk])"),
    ],
)
def test_odd_servers_are_understood(items: bytes, name: str, value: bytes) -> None:
    raw = b"* 7 Fetch " + items + b"\r\n"
    fetch = parse_fetch(raw)
    assert fetch.value(name) == value
    assert fetch.replaced({}) == raw


def test_a_changed_item_leaves_every_other_octet_as_it_was() -> None:
    assert parse_fetch(RAW).replaced({"RFC822.SIZE": b"99", "UID": b"345"}) == RAW.replace(b"1234", b"99").replace(b"UID 12", b"UID 345")


def test_what_is_not_known_or_cannot_be_kept_is_not_announced() -> None:
    names = b"IMAP4rev1 IDLE COMPRESS=DEFLATE AUTH=PLAIN STARTTLS X-NEW SORT=DISPLAY context=search LITERAL+ THREAD=REFS".split()
    assert filter_imap(names) == (
        [b"IMAP4rev1", b"IDLE", b"SORT=DISPLAY", b"context=search", b"LITERAL+", b"THREAD=REFS"],
        [b"COMPRESS=DEFLATE", b"AUTH=PLAIN", b"STARTTLS", b"X-NEW"],
    )
    assert filter_pop3([b"TOP", b"SASL PLAIN", b"STLS", b"X-OWN 1"]) == ([b"TOP", b"SASL PLAIN"], [b"STLS", b"X-OWN 1"])


def test_dovecots_list_after_login_passes_whole() -> None:
    dovecot = (
        b"IMAP4rev1 SASL-IR LOGIN-REFERRALS ID ENABLE IDLE SORT SORT=DISPLAY THREAD=REFERENCES THREAD=REFS THREAD=ORDEREDSUBJECT "
        b"MULTIAPPEND URL-PARTIAL CATENATE UNSELECT CHILDREN NAMESPACE UIDPLUS LIST-EXTENDED I18NLEVEL=1 CONDSTORE QRESYNC ESEARCH ESORT "
        b"SEARCHRES WITHIN CONTEXT=SEARCH LIST-STATUS BINARY MOVE SNIPPET=FUZZY PREVIEW=FUZZY PREVIEW STATUS=SIZE SAVEDATE LITERAL+ NOTIFY "
        b"SPECIAL-USE ACL RIGHTS=texk QUOTA METADATA INPROGRESS UTF8=ACCEPT REPLACE FILTER=SIEVE"
    ).split()
    assert filter_imap(dovecot) == (dovecot, [])


def test_before_login_only_what_is_known_of_the_server_is_promised() -> None:
    assert imap_before_login([], starttls=True, mechanisms=[]) == b"IMAP4rev1 SASL-IR ID STARTTLS LOGINDISABLED".split()
    known = b"IMAP4rev1 IMAP4rev2 IDLE LITERAL+ QUOTA".split()
    assert (
        imap_before_login(known, starttls=False, mechanisms=["PLAIN"]) == b"IMAP4rev1 IMAP4rev2 IDLE LITERAL+ SASL-IR ID AUTH=PLAIN".split()
    )


@given(
    st.lists(
        st.sampled_from(
            [b"(", b")", b" ", b'"a (b"', b'"a\\"b"', b"{3}\r\na)b", b"~{1}\r\n(", b"abc", b"a{2}", b"NIL", b'"', b"\r\n", b"{", b"\\"]
        )
    )
)
def test_a_list_ends_where_its_strings_and_lists_do(words: list[bytes]) -> None:
    raw = b"(" + b"".join(words)
    try:
        end = value_end(raw, 0)
    except PeerError:
        return
    (value,) = parse_arguments(raw[:end])
    assert isinstance(value, list)
    with pytest.raises(PeerError):
        parse_arguments(raw[: end - 1])


def test_a_list_that_servers_repeat_is_taken_apart_once_and_a_huge_one_is_not_kept() -> None:
    octets = b"IMAP4rev1 SASL-IR auth=plain COMPRESS=DEFLATE X-OWN"
    listed = imap_list(octets)
    assert imap_list(bytes(bytearray(octets))) is listed
    assert (listed.names, listed.passed) == (octets.split(), [b"IMAP4rev1", b"SASL-IR"])
    assert listed.withheld == [b"auth=plain", b"COMPRESS=DEFLATE", b"X-OWN"]
    assert (listed.mechanisms, listed.words[-1]) == ({"PLAIN"}, "X-OWN")
    assert b"AUTH=PLAIN" in listed.upper
    huge = b"X-%b" % (b"A" * 5000)
    assert imap_list(huge) is not imap_list(huge)
    assert imap_list(huge).names == [huge]
    assert imap_list(b"").names == []


def test_so_is_that_of_a_pop3_server() -> None:
    lines = [b"TOP", b"SASL PLAIN", b"STLS"]
    assert pop3_list(lines) is pop3_list(list(lines))
    assert (pop3_list(lines).passed, pop3_list(lines).withheld) == (lines[:2], [b"STLS"])
    assert pop3_list([]).names == []


def test_login_without_a_mechanism_is_no_reason_to_say_that_there_is_no_login() -> None:
    assert imap_line_before_login((), False, (), True) == b"IMAP4rev1 SASL-IR ID"
    assert imap_line_before_login((), False, (), False) == b"IMAP4rev1 SASL-IR ID LOGINDISABLED"
    assert imap_line_before_login((b"IDLE",), True, ("PLAIN",), True) == b"IMAP4rev1 IDLE SASL-IR ID STARTTLS AUTH=PLAIN"
