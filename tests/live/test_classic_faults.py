"""The faults that mail proxies have had, each as a test on real sockets.

Rule of this file: one fault, one test, and the sentence of its name says what must be. Real servers where
they show the fault, a scripted one where it takes a server that no one should run.
"""

from __future__ import annotations

import base64
import hashlib
import resource
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from portico.demo import mailbox, messages
from portico.demo.certificates import Certificates
from portico.demo.dovecot import Dovecot

from tests.live import clients
from tests.live.clients import Account
from tests.live.conftest import Way
from tests.live.dialogue import Dialogue, at_rest, eventually
from tests.live.front import Front
from tests.live.people import PASSWORD, People, load
from tests.live.scripted import CAPABILITIES, UNKNOWN, Connection, Ended, Scripted
from tests.live.test_transcripts import sign_in, sign_in_by

pytestmark = pytest.mark.live

MIB = 1024 * 1024
MOST_HELD = 24 * MIB
"""What the proxy may grow by while one session's peer does not read; kernels' buffers are not in it."""


def client(front: Front, certificates: Certificates) -> Dialogue:
    talk = Dialogue(front.ports.imaps, authority=certificates.authority, implicit=True)
    talk.line()
    return talk


# What follows a login


def test_commands_pipelined_behind_login_are_answered_in_order(way: Way, certificates: Certificates) -> None:
    with Dialogue(way.front.ports.imaps, authority=certificates.authority, implicit=True) as talk:
        talk.send(b"a LOGIN alice wonderland\r\nb SELECT INBOX\r\nc FETCH 1:* (UID BODY.PEEK[])\r\nd LOGOUT\r\n")
        everything = talk.rest()
    order = [everything.index(b"\r\n%s OK" % tag) for tag in (b"a", b"b", b"c", b"d")]
    assert order == sorted(order)
    for message in mailbox.alice()[0].messages:
        assert message.octets in everything


def test_commands_pipelined_behind_authenticate_are_answered_in_order(way: Way, certificates: Certificates) -> None:
    token = base64.b64encode(b"\0alice\0" + PASSWORD.encode())
    with Dialogue(way.front.ports.imaps, authority=certificates.authority, implicit=True) as talk:
        talk.send(b"a AUTHENTICATE PLAIN " + token + b"\r\nb SELECT INBOX\r\nc UID SEARCH ALL\r\nd LOGOUT\r\n")
        everything = talk.rest()
    order = [everything.index(b"\r\n%s OK" % tag) for tag in (b"a", b"b", b"c", b"d")]
    assert order == sorted(order)


def test_commands_pipelined_behind_pass_are_answered_in_order(way: Way, certificates: Certificates) -> None:
    letters = [message.octets for message in mailbox.alice()[0].messages]
    said = b"USER alice\r\nPASS wonderland\r\nSTAT\r\n" + b"".join(b"RETR %d\r\n" % number for number in range(1, len(letters) + 1))
    with Dialogue(way.front.ports.pop3s, authority=certificates.authority, implicit=True) as talk:
        talk.send(said + b"QUIT\r\n")
        everything = talk.rest()
    lines = everything.split(b"\r\n")
    assert [line[:3] for line in lines[:4]] == [b"+OK"] * 4
    assert lines[3].startswith(b"+OK %d " % len(letters))
    assert lines[-2].startswith(b"+OK")
    # In which order they are numbered is the server's business.
    for letter in letters:
        assert b"\r\n" + letter.replace(b"\r\n.", b"\r\n..") + b".\r\n" in everything


@pytest.mark.parametrize("size", [1, 2, 7])
def test_a_login_cut_into_small_pieces_is_the_same_login(way: Way, certificates: Certificates, size: int) -> None:
    said = b"a LOGIN {5+}\r\nalice {10+}\r\nwonderland\r\nb STATUS INBOX (MESSAGES)\r\nc LOGOUT\r\n"
    with Dialogue(way.front.ports.imaps, authority=certificates.authority, implicit=True) as talk:
        for start in range(0, len(said), size):
            talk.send(said[start : start + size])
        everything = talk.rest()
    assert b"(MESSAGES 14)" in everything
    assert b"c OK" in everything


# Literals across the edges of buffers


EDGES = [16384, 65536]


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("edge", EDGES)
def test_literals_of_lengths_around_a_buffer_come_back_as_they_went(
    edge: int,
    watched: bool,
    request: pytest.FixtureRequest,
    portico: Callable[..., Front],
    certificates: Certificates,
    people: People,
) -> None:
    server: Dovecot = request.getfixturevalue("dovecot_that_compresses" if watched else "dovecot")
    front, user = portico(server), people.new(server)
    letters = []
    for size in (*range(edge - 60, edge - 50), *range(edge - 2, edge + 3)):
        head = b"Subject: %d\r\n\r\n" % size
        letters.append(head + b"x" * 70 + b"\r\n" + b"a1 OK {9}\r\n" * ((size - len(head) - 74) // 11))
        letters[-1] += b"y" * (size - len(letters[-1]) - 2) + b"\r\n"
    with sign_in(front, certificates, user) as talk:
        for number, letter in enumerate(letters):
            # The announcement, the literal and the next command go in one write, cut where they happen to be.
            talk.send(b"a%d APPEND INBOX {%d+}\r\n%s\r\nn%d NOOP\r\n" % (number, len(letter), letter, number))
            assert b"a%d OK" % number in talk.until(b"n%d" % number)
        talk.command(b"s SELECT INBOX")
        answer = talk.command(b"f FETCH 1:* BODY.PEEK[]")
    for letter in letters:
        assert b"{%d}\r\n%s" % (len(letter), letter) in answer
    assert answer.count(b" FETCH (") == len(letters)


def test_an_append_in_crumbs_arrives_whole(way: Way) -> None:
    user, letter = way.new_user(), messages.attachments(1, size=3000)
    with sign_in_by(way, user) as talk:

        def crumble(said: bytes) -> None:
            for start in range(0, len(said), 13):
                talk.send(said[start : start + 13])

        crumble(b"a APPEND INBOX {%d}\r\n" % len(letter))
        assert talk.line().startswith(b"+")
        crumble(letter + b"\r\nb SELECT INBOX\r\nc FETCH 1 BODY.PEEK[]\r\n")
        assert b"{%d}\r\n%s" % (len(letter), letter) in talk.until(b"c")


# STARTTLS


def test_imap_commands_sent_in_clear_behind_starttls_are_never_carried_out(way: Way, certificates: Certificates) -> None:
    with Dialogue(way.front.ports.imap, authority=certificates.authority) as talk:
        talk.line()
        talk.send(b"a STARTTLS\r\nevil CAPABILITY\r\nworse LOGIN alice wonderland\r\n")
        assert talk.line().startswith(b"a OK")
        talk.handshake()
        answer = talk.command(b"b CAPABILITY")
    assert b"evil" not in talk.received
    assert b"worse" not in talk.received
    assert answer.startswith(b"* CAPABILITY ")


def test_pop3_commands_sent_in_clear_behind_stls_are_never_carried_out(way: Way, certificates: Certificates) -> None:
    with Dialogue(way.front.ports.pop3, authority=certificates.authority) as talk:
        talk.line()
        talk.send(b"STLS\r\nUSER mallory\r\nNOOP\r\n")
        assert talk.line().startswith(b"+OK")
        talk.handshake()
        talk.send(b"CAPA\r\n")
        answer = talk.multiline()
        assert b"\r\nUIDL\r\n" in answer or b"USER" in answer
        # Had USER been taken, PASS would now be a login of mallory's; without it, it is out of order.
        talk.send(b"PASS wonderland\r\n")
        assert talk.line().startswith(b"-ERR")


def test_answers_that_a_server_sends_in_clear_behind_its_starttls_ok_are_never_believed(
    fronted: Callable[..., tuple[Scripted, Front]], certificates: Certificates
) -> None:
    def script(connection: Connection) -> None:
        connection.sign_in(
            greeting=b"* OK [CAPABILITY IMAP4rev1 STARTTLS] scripted\r\n",
            starttls_answer=b"OK begin\r\n* CAPABILITY IMAP4rev1 AUTH=PLAIN X-EVIL QUOTA\r\n* 99 EXISTS\r\n",
        )
        while True:
            tag = connection.command().split(b" ", 1)[0]
            connection.send(tag + b" OK done\r\n")

    server, front = fronted(script, "starttls")
    with client(front, certificates) as talk:
        answer = talk.command(b"a LOGIN alice wonderland")
        talk.command(b"b NOOP")
    assert b"a OK" in answer
    for word in (b"EVIL", b"QUOTA", b"99 EXISTS"):
        assert word not in talk.received
    assert server.signed_in.secure


def test_a_list_of_capabilities_from_before_tls_is_forgotten(
    fronted: Callable[..., tuple[Scripted, Front]], certificates: Certificates
) -> None:
    before = b"IMAP4rev1 STARTTLS AUTH=PLAIN LOGINDISABLED QUOTA MOVE"

    def script(connection: Connection) -> None:
        connection.sign_in(greeting=b"* OK [CAPABILITY %s] scripted\r\n" % before, capabilities=CAPABILITIES + b" UIDPLUS")
        while True:
            tag = connection.command().split(b" ", 1)[0]
            connection.send(tag + b" OK done\r\n")

    _, front = fronted(script, "starttls")
    with client(front, certificates) as talk:
        answer = talk.command(b"a LOGIN alice wonderland") + talk.command(b"b NOOP")
    assert b"UIDPLUS" in answer
    assert b"QUOTA" not in answer
    assert b"MOVE" not in answer


def test_no_password_goes_to_a_server_that_does_not_offer_starttls(
    fronted: Callable[..., tuple[Scripted, Front]], certificates: Certificates
) -> None:
    def script(connection: Connection) -> None:
        connection.send(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] scripted\r\n")
        while True:
            tag, verb = connection.command().rstrip().split(b" ")[:2]
            # Someone in between answers NO, or takes the word out of the list.
            connection.send(tag + (b" BAD what?\r\n" if verb.upper() == b"STARTTLS" else b" OK done\r\n"))

    server, front = fronted(script, "starttls")
    with client(front, certificates) as talk:
        answer = talk.command(b"a LOGIN alice wonderland")
    assert b"a NO" in answer
    assert b"UNAVAILABLE" in answer
    said = b"".join(command for connection in server.connections for command in connection.commands)
    assert b"wonderland" not in said
    assert base64.b64encode(b"\0alice\0wonderland") not in said


def test_no_password_goes_to_a_server_whose_certificate_is_wrong(
    place: Path, dovecot: Dovecot, certificates: Certificates, portico: Callable[..., Front]
) -> None:
    front = Front(place / "wrong-name", dovecot.ports, certificates, "implicit", listener_settings="")
    text = front.text().replace('name = "localhost"', 'name = "mail.example.org"')
    front.text = lambda: text  # type: ignore[method-assign]
    front.start()
    try:
        with client(front, certificates) as talk:
            assert b"a NO [UNAVAILABLE]" in talk.command(b"a LOGIN alice wonderland")
        log = dovecot.log.read_text("utf-8", "replace")
    finally:
        front.stop()
    assert f"rport={front.ports.imaps}" not in log


# Back-pressure


BIG = 200 * MIB


@pytest.mark.parametrize("more", [b"", b" " + UNKNOWN], ids=["tunnel", "watch"])
def test_a_client_that_does_not_read_stops_the_server_being_read(
    more: bytes, fronted: Callable[..., tuple[Scripted, Front]], certificates: Certificates
) -> None:
    block = messages.noise(MIB, "block")

    def script(connection: Connection) -> None:
        connection.sign_in(capabilities=CAPABILITIES + more)
        while True:
            tag, verb = connection.command().rstrip().split(b" ")[:2]
            if verb == b"FETCH":
                connection.send(b"* 1 FETCH (BODY[] {%d}\r\n" % BIG)
                for _ in range(BIG // len(block)):
                    connection.send(block)
                connection.send(b")\r\n")
            connection.send(tag + b" OK done\r\n")

    server, front = fronted(script)
    with client(front, certificates) as talk:
        talk.command(b"a LOGIN alice wonderland")
        before = front.memory()
        talk.send(b"b FETCH 1 BODY[]\r\n")
        end = server.signed_in
        assert eventually(lambda: end.sent > MIB)
        assert at_rest(lambda: end.sent) < BIG // 4
        assert front.memory() - before < MOST_HELD
        assert talk.line() == b"* 1 FETCH (BODY[] {%d}\r\n" % BIG
        digest, left = hashlib.sha256(), BIG
        while left:
            some = talk.exactly(min(left, MIB))
            talk.received = b""
            digest.update(some)
            left -= len(some)
        assert b"b OK" in talk.until(b"b")
        assert front.memory() - before < MOST_HELD
    assert digest.hexdigest() == hashlib.sha256(block * (BIG // len(block))).hexdigest()


@pytest.mark.parametrize("more", [b"", b" LITERAL+ " + UNKNOWN], ids=["tunnel", "watch"])
def test_a_server_that_does_not_read_stops_the_client_being_read(
    more: bytes, fronted: Callable[..., tuple[Scripted, Front]], certificates: Certificates
) -> None:
    go = threading.Event()
    got: list[int] = []

    def script(connection: Connection) -> None:
        connection.sign_in(capabilities=CAPABILITIES + more)
        line = connection.line()
        while b"APPEND" not in line:
            connection.send(line.split(b" ", 1)[0] + b" OK done\r\n")
            line = connection.line()
        go.wait(30)
        count = 0
        while count < BIG:
            count += len(connection.exactly(min(65536, BIG - count)))
        got.append(count)
        connection.line()
        connection.send(b"b OK done\r\n")

    _, front = fronted(script)
    with client(front, certificates) as talk:
        talk.command(b"a LOGIN alice wonderland")
        before = front.memory()
        talk.send(b"b APPEND INBOX {%d+}\r\n" % BIG)
        talk.socket.settimeout(1)
        block, sent = messages.noise(MIB, "block"), 0
        try:
            while sent < BIG:
                talk.send(block)
                sent += len(block)
        except TimeoutError:
            pass
        assert sent < BIG // 4
        assert front.memory() - before < MOST_HELD
        go.set()


# Ends


@pytest.mark.parametrize("more", [b"", b" " + UNKNOWN], ids=["tunnel", "watch"])
@pytest.mark.parametrize("ending", ["close", "reset"])
def test_a_server_that_dies_in_mid_literal_leaves_no_made_up_octet(
    ending: str, more: bytes, fronted: Callable[..., tuple[Scripted, Front]], certificates: Certificates
) -> None:
    half = b"* 1 FETCH (BODY[] {100000}\r\n" + messages.noise(50000, "half")

    def script(connection: Connection) -> None:
        connection.sign_in(capabilities=CAPABILITIES + more)
        connection.command()
        connection.send(half)
        time.sleep(0.2)
        if ending == "reset":
            connection.reset()
        raise Ended

    _, front = fronted(script)
    with client(front, certificates) as talk:
        talk.command(b"a LOGIN alice wonderland")
        talk.send(b"b FETCH 1 BODY[]\r\n")
        rest = talk.rest(10)
    # A BYE would be taken for the message's text, so nothing may follow what the server said.
    assert half.startswith(rest)
    if ending == "close":
        assert rest == half

    def closed_by_alice() -> list[dict[str, Any]]:
        return [event for event in front.events("session.closed") if event.get("user") == "alice"]

    assert eventually(closed_by_alice)
    (closed,) = closed_by_alice()
    assert closed["side"] == "server"
    assert closed["reason"] in ("server_closed", "server_reset")


def test_a_client_that_vanishes_in_an_append_leaves_nothing_behind(way: Way) -> None:
    user = way.new_user()
    already = len(way.front.events("session.closed"))
    talk = sign_in_by(way, user)
    talk.send(b"a APPEND INBOX {100000}\r\n")
    assert talk.line().startswith(b"+")
    talk.send(b"x" * 40000)
    time.sleep(0.2)
    talk.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    talk.close()
    assert eventually(lambda: len(way.front.events("session.closed")) > already)
    closed = way.front.events("session.closed")[-1]
    assert closed["reason"] in ("client_closed", "client_reset")
    assert closed["side"] == "client"
    with clients.imaplib_connect(way.direct(user)) as connection:
        assert connection.select("INBOX")[1] == [b"0"]


def test_a_servers_bye_reaches_the_client(fronted: Callable[..., tuple[Scripted, Front]], certificates: Certificates) -> None:
    def script(connection: Connection) -> None:
        connection.sign_in()
        connection.command()
        connection.send(b"* BYE closed for the night\r\n")
        raise Ended

    _, front = fronted(script)
    with client(front, certificates) as talk:
        talk.command(b"a LOGIN alice wonderland")
        talk.send(b"b NOOP\r\n")
        assert b"* BYE closed for the night\r\n" in talk.rest(10)


def test_a_server_that_is_not_there_is_told_with_a_code(place: Path, certificates: Certificates) -> None:
    server = Scripted(lambda connection: connection.sign_in(), certificates)
    front = Front(place / "nobody", server.ports, certificates, protocols=("imap",)).start()
    server.stop()
    try:
        with client(front, certificates) as talk:
            assert b"a NO [UNAVAILABLE]" in talk.command(b"a LOGIN alice wonderland")
    finally:
        front.stop()


# Much


def test_a_message_of_50_mb_goes_both_ways(
    dovecot: Dovecot, portico: Callable[..., Front], certificates: Certificates, people: People, tmp_path: Path
) -> None:
    front, user = portico(dovecot, "implicit"), people.new(dovecot)
    big = messages.attachments(1, size=37 * MIB)
    assert len(big) > 50_000_000
    account = Account(front.ports, user, PASSWORD, certificates.authority)
    before = front.memory()
    clients.curl_append(account, tmp_path / "up", big)
    expected = {"1.eml": clients.sha256(big)}
    assert clients.curl(account, tmp_path / "imap", "imap", 1) == expected
    assert clients.curl(account, tmp_path / "pop3", "pop3", 1) == expected
    assert front.memory() - before < MOST_HELD


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_thousand_sessions_sit_idle_at_once(place: Path, certificates: Certificates) -> None:
    count = 1000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else 1 << 16, hard))
    server = Dovecot(
        place / "crowd",
        users={"alice": PASSWORD},
        certificate=certificates.certificate,
        key=certificates.key,
        sessions_per_process=100,
    )
    limits = f"[limits]\nsessions = {count + 100}\nsessions_per_user = {count + 100}\nsessions_per_address = {count + 100}\n"
    front = Front(place / "crowd-front", server.ports, certificates, "none", more=limits)
    talks: list[Dialogue] = []
    try:
        server.start()
        load(server, "alice", [mailbox.Folder("INBOX", mailbox.alice()[0].messages[:1])])
        front.start()
        first = sign_in(front, certificates, "alice")
        talks.append(first)
        before = front.memory()
        for _ in range(count - 1):
            talk = sign_in(front, certificates, "alice")
            talks.append(talk)
        for talk in talks:
            talk.send(b"a SELECT INBOX\r\nb IDLE\r\n")
        for talk in talks:
            talk.until(b"a")
            assert talk.line().startswith(b"+")
        per_session = (front.memory() - before) / count
        for talk in talks:
            talk.send(b"DONE\r\nc LOGOUT\r\n")
        for talk in talks:
            answer = talk.rest()
            assert b"b OK" in answer
            assert b"c OK" in answer
        assert per_session < 40 * 1024, f"{per_session / 1024:.1f} KiB for each session"
        assert eventually(lambda: len(front.events("session.closed")) >= count)
    finally:
        for talk in talks:
            talk.close()
        front.stop()
        server.stop()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_literal_announced_too_large_before_login_is_refused_before_an_octet_of_it_is_read(
    dovecot: Dovecot, portico: Callable[..., Front], certificates: Certificates
) -> None:
    with Dialogue(portico(dovecot).ports.imaps, authority=certificates.authority, implicit=True) as talk:
        talk.line()
        talk.send(b"a LOGIN {99999999999}\r\n")
        answer = talk.line()
        assert answer.startswith((b"a BAD", b"a NO", b"* BYE"))
        assert not answer.startswith(b"+")
