"""Extensions pass through Portico as the server speaks them: the same letters, the same answers.

Rule of this file: a scenario is said once straight to the server and once through Portico, each time for a
user nobody has used; then the two transcripts are compared, octet for octet but for times and numbers that
a server makes up.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from portico.demo import mailbox, messages
from portico.demo.certificates import Certificates
from portico.demo.dovecot import Dovecot

from tests.live.clients import Account, imaplib_connect, poplib_connect
from tests.live.conftest import Way
from tests.live.dialogue import Dialogue, eventually
from tests.live.front import Front
from tests.live.people import PASSWORD, People, load

pytestmark = pytest.mark.live

MESSAGE = messages.quoted_printable(1)
LITERAL = b"{%d+}\r\n" % len(MESSAGE) + MESSAGE

MADE_UP = [
    (re.compile(rb"\(\d+\.\d+ \+ [\d.+ ]+secs\)"), b"(time)"),
    (re.compile(rb"(UIDVALIDITY|APPENDUID|COPYUID|OBJECTID|MAILBOXID|EMAILID|THREADID)([ (]+)[\w.-]+"), rb"\1\2N"),
    (re.compile(rb"(MODSEQ|HIGHESTMODSEQ)([ (]+)\d+"), rb"\1\2N"),
    (re.compile(rb"user\d+"), b"USER"),
    (re.compile(rb"SAVEDATE \"[^\"]*\""), b"SAVEDATE N"),
]

SCENARIOS: dict[str, list[bytes]] = {
    "LIST and NAMESPACE": [
        b'a LIST "" "*"', b'b LIST (SUBSCRIBED) "" "*" RETURN (CHILDREN SPECIAL-USE)', b'c LSUB "" "*"', b"d NAMESPACE",
        b'e LIST "" (INBOX "Archive/*") RETURN (STATUS (MESSAGES UNSEEN UIDNEXT SIZE))', b'f LIST "" ""', b'g LIST (SPECIAL-USE) "" "*"',
    ],
    "APPEND, COPY and MOVE": [
        b"a CREATE There", b"b APPEND INBOX (\\Seen) \"04-May-2026 09:00:00 +0200\" " + LITERAL,
        b"c APPEND INBOX " + LITERAL + b" (\\Flagged) " + LITERAL, b"d SELECT INBOX", b"e UID COPY 1:3 There", b"f MOVE 2 There", b"g UID MOVE 1 There",
        b"h STATUS There (MESSAGES UIDNEXT)", b"i COPY 1 Nowhere", b"j UNSELECT", b"k SELECT There", b"l FETCH 1:* (UID FLAGS RFC822.SIZE BODY.PEEK[]<0.100>)",
        b"m UID EXPUNGE 1:2", b"n STORE 1:* +FLAGS.SILENT (\\Deleted $Label)", b"o EXPUNGE", b"p CLOSE", b"q DELETE There",
    ],
    "SEARCH, SORT and THREAD": [
        b"a APPEND INBOX " + LITERAL, b"b APPEND INBOX " + LITERAL, b"c SELECT INBOX", b"d SEARCH CHARSET UTF-8 BODY {6+}\r\nGr\xc3\xb6\xc3\x9f",
        b"e SEARCH RETURN (MIN MAX COUNT ALL) ALL", b"f SORT (REVERSE DATE SUBJECT) UTF-8 ALL", b"g UID THREAD REFERENCES UTF-8 ALL",
        b"h THREAD REFS UTF-8 ALL", b"i UID SORT RETURN (COUNT) (SIZE) UTF-8 ALL", b"j SEARCH RETURN (SAVE) 1", b"k FETCH $ (UID)",
        b"l SEARCH CHARSET KLINGON BODY x", b"m SEARCH OR (LARGER 10) (NOT SMALLER 5)", b"n SEARCH",
    ],
    "FETCH of every kind": [
        b"a APPEND INBOX " + LITERAL, b"b SELECT INBOX", b"c FETCH 1 ALL", b"d FETCH 1 FULL", b"e FETCH 1 FAST", b"f FETCH 1 BODYSTRUCTURE",
        b"g FETCH 1 (BODY.PEEK[HEADER.FIELDS (SUBJECT FROM)] BODY.PEEK[TEXT])", b"h FETCH 1 BODY[1]<3.10>", b"i FETCH 1 BINARY.PEEK[1]",
        b"j FETCH 1 BINARY.SIZE[1]", b"k FETCH 1 (RFC822 RFC822.HEADER RFC822.TEXT)", b"l FETCH 1 PREVIEW", b"m FETCH 1 BODY[9]", b"n FETCH 99 FLAGS",
    ],
    "ACL": [
        b"a MYRIGHTS INBOX", b"b GETACL INBOX", b"c CREATE Shared", b"d SETACL Shared bob lr", b"e GETACL Shared", b"f LISTRIGHTS Shared bob",
        b"g DELETEACL Shared bob", b"h MYRIGHTS Public/Team", b"i STATUS Public/Team/Minutes (MESSAGES)", b"j CREATE Public/Mine",
    ],
    "QUOTA": [b"a GETQUOTAROOT INBOX", b'b GETQUOTA "User quota"', b"c GETQUOTA nothing", b'd SETQUOTA "User quota" (STORAGE 5)'],
    "METADATA": [
        b"a SETMETADATA INBOX (/private/comment {5+}\r\nhello)", b"b GETMETADATA INBOX /private/comment",
        b'c GETMETADATA "" (/shared/comment /private/comment)', b"d GETMETADATA (DEPTH infinity) INBOX (/private)", b"e SETMETADATA INBOX (/private/comment NIL)",
    ],
    "CONDSTORE and QRESYNC": [
        b"a ENABLE CONDSTORE QRESYNC", b"b APPEND INBOX " + LITERAL, b"c SELECT INBOX (CONDSTORE)", b"d STORE 1 (UNCHANGEDSINCE 1) +FLAGS (\\Seen)",
        b"e UID FETCH 1:* (FLAGS) (CHANGEDSINCE 0 VANISHED)", b"f STORE 1 +FLAGS (\\Deleted)", b"g EXPUNGE", b"h UNSELECT", b"i SELECT INBOX (QRESYNC (1 1))",
        b"j SEARCH MODSEQ 1",
    ],
    "NOTIFY": [
        b"a NOTIFY SET STATUS (personal (MessageNew MessageExpunge MailboxName)) (selected (MessageNew MessageExpunge))", b"b CREATE New",
        b"c NOTIFY NONE", b"d NOTIFY SET nonsense",
    ],
    "odd but lawful": [
        b"a noop", b"b SeLeCt inbox", b"A.very-long_tag'with=odd/characters STATUS INBOX (MESSAGES)", b"d NOSUCHCOMMAND", b"e SELECT",
        b'f STATUS "INBOX" (MESSAGES)', b"g STATUS {5+}\r\nINBOX (MESSAGES)", b"h SELECT Nowhere", b"i FETCH 1 FLAGS", b"j CHECK",
        b"k ID NIL", b"l ENABLE UTF8=ACCEPT", b"m UNSUBSCRIBE Nowhere",
    ],
}  # fmt: skip


def sign_in(end: Front | Dovecot, certificates: Certificates, user: str) -> Dialogue:
    talk = Dialogue(end.ports.imaps, authority=certificates.authority, implicit=True)
    talk.line()
    return signed_in(talk, user)


def sign_in_by(way: Way, user: str) -> Dialogue:
    """Through Portico, with the kind of TLS that this way has."""
    talk = Dialogue(way.through().port("imap"), authority=way.authority, implicit=way.tls == "implicit")
    talk.line()
    if way.tls == "starttls":
        talk.command(b"s STARTTLS")
        talk.handshake()
    return signed_in(talk, user)


def signed_in(talk: Dialogue, user: str) -> Dialogue:
    assert b"l OK" in talk.command(b"l LOGIN %s %s" % (user.encode(), PASSWORD.encode()))
    return talk


def settled(transcript: bytes) -> bytes:
    for pattern, word in MADE_UP:
        transcript = pattern.sub(word, transcript)
    return transcript


def play(talk: Dialogue, commands: list[bytes]) -> bytes:
    return b"".join(talk.command(command) for command in commands)


@pytest.mark.parametrize("name", list(SCENARIOS))
def test_the_server_says_the_same_through_portico(
    name: str, dovecot: Dovecot, portico: Callable[..., Front], certificates: Certificates, people: People
) -> None:
    transcripts = []
    for end in (dovecot, portico(dovecot, "starttls")):
        with sign_in(end, certificates, people.new(dovecot)) as talk:
            transcripts.append(settled(play(talk, SCENARIOS[name])))
    assert transcripts[1].split(b"\r\n") == transcripts[0].split(b"\r\n")


def test_idle_tells_of_a_new_message_at_once(way: Way) -> None:
    user = way.new_user()
    with sign_in_by(way, user) as talk:
        talk.command(b"a SELECT INBOX")
        talk.send(b"b IDLE\r\n")
        assert talk.line().startswith(b"+")
        load(way.server, user, [mailbox.Folder("INBOX", [mailbox.Message(MESSAGE)])])
        answer = talk.line()
        while b"EXISTS" not in answer:
            answer = talk.line()
        assert answer == b"* 1 EXISTS\r\n"
        talk.send(b"DONE\r\n")
        assert b"b OK" in talk.until(b"b")
        assert b"c OK" in talk.command(b"c NOOP")


def capabilities(end: Front | Dovecot, certificates: Certificates) -> set[bytes]:
    with sign_in(end, certificates, "alice") as talk:
        return set(talk.command(b"c CAPABILITY").split(b"\r\n")[0].removeprefix(b"* CAPABILITY ").split())


def test_the_list_of_capabilities_is_the_servers(dovecot: Dovecot, portico: Callable[..., Front], certificates: Certificates) -> None:
    assert capabilities(portico(dovecot), certificates) == capabilities(dovecot, certificates) - {b"COMPRESS=DEFLATE"}


def test_compression_is_not_announced_and_not_begun(
    dovecot_that_compresses: Dovecot, portico: Callable[..., Front], certificates: Certificates
) -> None:
    direct = capabilities(dovecot_that_compresses, certificates)
    front = portico(dovecot_that_compresses)
    assert b"COMPRESS=DEFLATE" in direct
    assert capabilities(front, certificates) == direct - {b"COMPRESS=DEFLATE"}
    with Dialogue(front.ports.imaps, authority=certificates.authority, implicit=True) as talk:
        assert b"COMPRESS" not in talk.line()
        assert b"COMPRESS" not in talk.command(b"a LOGIN alice wonderland")
        assert talk.command(b"c COMPRESS DEFLATE").startswith((b"c NO", b"c BAD"))
        assert b"d OK" in talk.command(b"d NOOP")


@pytest.mark.parametrize("name", ["APPEND, COPY and MOVE", "FETCH of every kind", "CONDSTORE and QRESYNC", "odd but lawful"])
def test_a_session_that_is_watched_says_the_same(
    name: str, dovecot_that_compresses: Dovecot, portico: Callable[..., Front], certificates: Certificates, people: People
) -> None:
    # Something of this server's list is withheld, so that its sessions are read line by line to the end.
    transcripts = []
    for end in (dovecot_that_compresses, portico(dovecot_that_compresses)):
        with sign_in(end, certificates, people.new(dovecot_that_compresses)) as talk:
            transcripts.append(settled(play(talk, SCENARIOS[name])))
    assert transcripts[1].split(b"\r\n") == transcripts[0].split(b"\r\n")


def test_a_pop3_transcript_is_the_same(way: Way, certificates: Certificates, tmp_path: Path) -> None:
    transcripts = []
    for ports in (way.server.ports, way.front.ports):
        with Dialogue(ports.pop3s, authority=certificates.authority, implicit=True) as talk:
            talk.line()
            said = b""
            for command in (
                b"USER alice",
                b"PASS " + PASSWORD.encode(),
                b"NOOP",
                b"LIST 1",
                b"LIST 99",
                b"UIDL 2",
                b"DELE 99",
                b"RSET",
                b"NONSENSE",
            ):
                talk.send(command + b"\r\n")
                answer = talk.line()
                said += answer if command not in (b"USER alice", b"PASS wonderland") else answer[:3]
            for command in (b"LIST", b"UIDL", b"TOP 8 3", b"RETR 8", b"RETR 2"):
                talk.send(command + b"\r\n")
                said += talk.multiline()
            talk.send(b"QUIT\r\n")
            said += talk.rest()[:3]
        transcripts.append(said)
    assert transcripts[1] == transcripts[0]


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
@pytest.mark.parametrize("tls", ["none", "starttls", "implicit"])
def test_a_session_that_nobody_is_interested_in_is_a_tunnel(
    protocol: str, tls: str, dovecot: Dovecot, portico: Callable[..., Front], certificates: Certificates
) -> None:
    front = portico(dovecot, tls)
    already = len(front.events("session.closed"))
    account = Account(front.ports, "alice", PASSWORD, certificates.authority)
    if protocol == "imap":
        with imaplib_connect(account) as connection:
            connection.noop()
    else:
        poplib_connect(account).quit()
    assert eventually(lambda: len(front.events("session.closed")) > already)
    assert front.events("session.closed")[-1]["mode"] == "tunnel"
