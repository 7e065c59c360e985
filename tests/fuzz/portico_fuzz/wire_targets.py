"""Targets for the room `wire`.

Rule of this file: any octets give pieces, values or a PeerError, never another exception; what is cut can be put together again;
what is held stays within its limit.
"""

from __future__ import annotations

import re

from portico.errors import PeerError
from portico.testing import samples
from portico.wire import capability, imap, pop3, sasl
from portico.wire import message as whole
from portico.wire import proxy_protocol as proxies
from portico.wire.bodystructure import parse_structure
from portico.wire.lines import Line, Literal, Reader
from portico.wire.skim import Piece, Skimmer

from portico_fuzz import corpus
from portico_fuzz.source import Source

_MAX_LINE = 200
_MAX_LITERAL = 1000
_HEAD = 256
"""What a Skimmer may hold of a line before it can judge it, where its limit is smaller."""
_WANTED = re.compile(rb"\* (?:\d{1,10} )?(?:FETCH|LIST|BYE|CAPABILITY)\b|\+|[^*+\s][^ \r\n]* (?:OK|NO|BAD)\b", re.IGNORECASE)


def _read(pieces: list[bytes], *, literals: bool, responses: bool) -> tuple[list[bytes], str]:
    """What a Reader makes of `pieces`: lines, and literals put together; and the error that ended it."""
    reader = Reader(_MAX_LINE, _MAX_LITERAL, literals=literals, responses=responses)
    out: list[bytes] = []
    fed = read = 0
    for data in pieces:
        reader.feed(data)
        fed += len(data)
        while True:
            try:
                piece = reader.next()
            except PeerError as error:
                if error.fatal:
                    return out, error.text
                assert reader.refused, "a refused literal has a line with the tag to answer to"
                read += len(reader.refused)
                out.append(b"refused " + reader.refused)
                reader.refuse_literal()
                continue
            if piece is None:
                break
            read += len(piece.data)
            if isinstance(piece, Literal):
                assert piece.data, "a piece of a literal is never empty"
                if out and out[-1].startswith(b"literal "):
                    out[-1] += piece.data
                else:
                    out.append(b"literal " + piece.data)
            else:
                assert isinstance(piece, Line)
                assert piece.literal <= _MAX_LITERAL, "no literal above the limit is let in"
                out.append(b"line " + piece.data)
        assert reader.held == fed - read, "octets fed are octets read or held"
        assert reader.held <= _MAX_LINE, "what is held never passes its limit"
    return out, ""


def reader(data: bytes) -> None:
    """However the octets are cut, the lines and literals are the same."""
    source = Source(data)
    flags = source.octet()
    literals, responses = bool(flags & 1), bool(flags & 2)
    shape = Source(source.octets(20))
    stream = source.rest()
    assert _read([stream] if stream else [], literals=literals, responses=responses) == _read(
        shape.cut(stream), literals=literals, responses=responses
    ), "cutting changed what was read"


def skimmer(data: bytes) -> None:
    """Runs and wanted pieces, put together again, are the octets that came in; however they are cut, the same is wanted."""
    source = Source(data)
    limit = 64 + source.octet() * 4
    stops = source.octet()
    shape = Source(source.octets(20))
    stream = source.rest()
    wanted: list[list[bytes]] = []
    for pieces in ([stream] if stream else [], shape.cut(stream)):
        skim = Skimmer(_WANTED, limit)
        out = b""
        found: list[bytes] = []
        fed = 0
        for index, piece in enumerate(pieces):
            skim.stop_at_boundary = bool(stops >> index % 8 & 1)
            fed += len(piece)
            for kind, octets in skim.feed(piece):
                if kind is Piece.RUN or kind is Piece.WANTED:
                    out += octets
                if kind is Piece.WANTED and len(octets) <= limit and _judged_early(octets):
                    found.append(octets)
            assert skim.held <= max(limit, _HEAD), "what is held never passes its limit"
            assert len(out) + skim.held == fed, "octets in are octets out or held"
        assert stream.startswith(out), "octets come out in order"
        wanted.append(found)
    assert wanted[0] == wanted[1], "cutting changed what was wanted"


def _judged_early(response: bytes) -> bool:
    """Its head is short enough to be known for what it is, however the octets are cut."""
    match = _WANTED.match(response)
    return match is not None and match.end() < _HEAD - 4


def syntax(data: bytes) -> None:
    """Commands, arguments, FETCH and status responses: values or a PeerError."""
    for parse in (imap.parse_command, imap.parse_arguments):
        try:
            parse(data)
        except PeerError:
            pass
    imap.tag_of(data)
    status = imap.parse_status(data)
    assert status is None or status.kind in ("OK", "NO", "BAD", "BYE", "PREAUTH")
    quoted = imap.quote(data)
    if quoted is not None:
        assert imap.parse_arguments(quoted) == [data], "what is quoted is read back"
    try:
        fetch = imap.parse_fetch(data)
    except PeerError:
        pass
    else:
        assert fetch.uid is None or fetch.uid >= 0
        assert fetch.replaced({}) == data
        assert fetch.replaced({name: fetch.value(name) or b"" for name in fetch.items}) == data, "the same values give the same octets"
    words = data.split()
    passed, withheld = capability.filter_imap(words)
    assert sorted(passed + withheld) == sorted(words)
    passed, withheld = capability.filter_pop3(data.split(b"\r\n"))
    assert len(passed) + len(withheld) == len(data.split(b"\r\n"))


def pop3_framing(data: bytes) -> None:
    """Commands and status lines: values or a PeerError. The end of an answer is at its CRLF dot CRLF, however it is cut."""
    source = Source(data)
    shape = Source(source.octets(20))
    stream = source.rest()
    for line in stream.split(b"\r\n"):
        try:
            command = pop3.parse_command(line)
        except PeerError:
            pass
        else:
            pop3.has_body(command.name, command.arguments)
        status = pop3.parse_status(line)
        assert status is None or not status.ok or line[:3].upper() == b"+OK"
        assert pop3.timestamp(line) in line
    lines = stream.split(b"\r\n")
    stuffed = pop3.stuffed(lines)
    assert pop3.body_lines(stuffed) == lines, "what is stuffed is read back"
    for answer in (stuffed + b"+OK next\r\n", stream):
        expected = (b"\r\n" + answer).find(pop3.END)
        body = pop3.Body()
        position = 0
        for piece in shape.cut(answer):
            end = body.end(piece)
            if end >= 0:
                assert 0 < end <= len(piece)
                assert position + end == expected + 3, "a body ends at its dot"
                break
            position += len(piece)
        else:
            assert expected < 0, "a body that has its dot ends"


def message(data: bytes) -> None:
    """A message that is held whole: all that is told of it is of its own octets, or it is no message."""
    octets = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    if whole.trouble_with(octets):
        return
    told = whole.Message(octets)
    structure = parse_structure(told.structure(extended=True))
    assert imap.parse_arguments(b"(%b)" % told.envelope()), "an envelope is a list"
    assert told.section(whole.Section("", "HEADER")) + told.section(whole.Section("", "TEXT")) == octets
    for part in structure.walk():
        body = told.section(whole.Section(part.number, ""))
        assert body in octets
        assert part.parts or part.octets == len(body), "the size told is the size given"
        for what in ("MIME", "HEADER", "TEXT"):
            assert told.section(whole.Section(part.number, what)) in octets
        for section in (f"{part.number}.{what}".lstrip(".") for what in ("HEADER.FIELDS (A)", "HEADER.FIELDS.NOT (A)")):
            assert told.section(whole.parse_section(section)).endswith(b"\r\n") or part.message is None


def mechanisms(data: bytes) -> None:
    """SASL on both sides: a challenge, credentials or a PeerError."""
    source = Source(data)
    name = source.choice(sorted(sasl.SPOKEN))
    server = sasl.start(name, external_name=source.choice([None, "alice"]))
    client = sasl.choose({name}, name, "alice", sasl.password(b"x"))
    relayed = source.choice(["SCRAM-SHA-256", "SCRAM-SHA-1-PLUS", "DIGEST-MD5", "CRAM-MD5", "GSSAPI"])
    assert server is not None
    for line in source.rest().split(b"\n"):
        for decode in (sasl.decode, sasl.decode_initial):
            try:
                decode(line)
            except PeerError:
                pass
        try:
            said = server.step(line or None)
            if isinstance(said, sasl.Credentials):
                assert not any(character < " " for character in said.user + said.authzid), "a user name has no control characters"
        except PeerError:
            pass
        try:
            assert sasl.name_in(relayed, line)
        except PeerError:
            pass
        if client is not None:
            try:
                client.step(line)
            except PeerError:
                pass


def proxy_protocol(data: bytes) -> None:
    """A header, a wish for more or a PeerError; what is behind a header changes nothing, and no part of it is one."""
    try:
        header = proxies.parse(data)
    except PeerError:
        return
    if header is None:
        return
    assert header.length <= len(data)
    assert proxies.parse(data[: header.length]) == header, "what follows is the client's"
    for end in range(header.length):
        assert proxies.parse(data[:end]) is None, "no part of a header is one"
    if header.source is not None and header.destination is not None:
        for version in (1, 2):
            again = proxies.parse(proxies.compose(version, header.source, header.destination))
            assert again is not None and again.source is not None and again.source[1] == header.source[1]


_STREAMS = [
    b"".join(b"a%d " % number + command for number, command in enumerate(corpus.IMAP_COMMANDS)),
    b"".join(b"b%d " % number + command for number, command in enumerate(corpus.IMAP_SIGN_IN + corpus.IMAP_BEFORE_LOGIN)),
    corpus.IMAP_GREETINGS[0] + b"".join(corpus.IMAP_UNTAGGED) + b"a1 OK done\r\n",
    b"".join(corpus.IMAP_UNTAGGED[:12]) * 3,
]
STREAM_SEEDS = [b"\x03" * 22 + stream for stream in _STREAMS] + [
    b"\x01" * 22 + line for line in (*corpus.IMAP_UNTAGGED, *corpus.IMAP_COMMANDS)
]
SYNTAX_SEEDS = [*corpus.IMAP_UNTAGGED, *corpus.IMAP_ANSWERS, *(b"a1 " + line for line in corpus.IMAP_COMMANDS + corpus.IMAP_SIGN_IN)]
POP3_SEEDS = [
    b"\x05" * 20 + text for text in (*corpus.POP3_ANSWERS, *corpus.POP3_BODIES.values(), *corpus.POP3_COMMANDS, *corpus.POP3_GREETINGS)
]
MESSAGE_SEEDS = list(samples.MESSAGES.values())
PROXY_SEEDS = [
    b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 993\r\na1 NOOP\r\n",
    b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 993\r\n",
    b"PROXY UNKNOWN\r\n",
    proxies.compose_local(2),
    proxies.compose(2, ("192.0.2.7", 40000), ("192.0.2.1", 993), unique_id=b"0sx"),
    proxies.compose(2, ("::7", 4), ("::1", 9), tls=proxies.Tls("TLSv1.3", "TLS_AES_128_GCM_SHA256", "alice", True), authority="a.example"),
    proxies.SIGNATURE + b"\x21\x31\x00\xd8" + bytes(216),
]
SASL_SEEDS = [
    bytes([mechanism, 1, relayed]) + b"\n".join(pair)
    for mechanism in range(5)
    for relayed in range(5)
    for pair in zip(corpus.SASL_RESPONSES, corpus.SASL_RESPONSES[1:], strict=False)
]
