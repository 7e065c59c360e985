"""The faults that mail proxies have had, in POP3.

Rule of this file: as test_classic_faults.py; here is what POP3 does in its own way.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable

import pytest
from portico.demo import messages
from portico.demo.certificates import Certificates

from tests.live.dialogue import Dialogue, at_rest, eventually
from tests.live.front import Front
from tests.live.scripted import UNKNOWN, Connection, Ended, Scripted
from tests.live.test_classic_faults import BIG, MIB, MOST_HELD

pytestmark = pytest.mark.live

Fronted = Callable[..., tuple[Scripted, Front]]
CAPA = b"USER UIDL TOP PIPELINING"
KINDS = pytest.mark.parametrize("names", [CAPA, CAPA + b" " + UNKNOWN], ids=["tunnel", "watch"])


def client(front: Front, certificates: Certificates) -> Dialogue:
    talk = Dialogue(front.ports.pop3s, authority=certificates.authority, implicit=True)
    assert talk.line().startswith(b"+OK")
    return talk


def say(talk: Dialogue, command: bytes) -> bytes:
    talk.send(command + b"\r\n")
    return talk.line()


def signed_in(front: Front, certificates: Certificates) -> Dialogue:
    talk = client(front, certificates)
    assert say(talk, b"USER alice").startswith(b"+OK")
    assert say(talk, b"PASS wonderland").startswith(b"+OK")
    return talk


def capa(connection: Connection, names: bytes) -> None:
    connection.send(b"+OK\r\n" + b"".join(name + b"\r\n" for name in names.split()) + b".\r\n")


def answer_until(connection: Connection, last: bytes, names: bytes = CAPA) -> None:
    """Answer +OK to everything before `last`, CAPA with `names`."""
    while (command := connection.command().rstrip().upper()) != last:
        if command == b"CAPA":
            capa(connection, names)
        else:
            connection.send(b"+OK done\r\n")


def go_on(connection: Connection) -> None:
    answer_until(connection, b"QUIT")
    connection.send(b"+OK bye\r\n")


def test_answers_that_a_server_sends_in_clear_behind_its_stls_ok_are_never_believed(fronted: Fronted, certificates: Certificates) -> None:
    def script(connection: Connection) -> None:
        # As if USER, PASS and a first command had been answered already.
        connection.sign_in(starttls_answer=b"+OK begin\r\n+OK\r\n+OK evil\r\n+OK 99 9999\r\n")
        go_on(connection)

    server, front = fronted(script, "starttls", "pop3")
    with client(front, certificates) as talk:
        say(talk, b"USER alice")
        assert say(talk, b"PASS wonderland") == b"+OK in\r\n"
        assert say(talk, b"STAT") == b"+OK done\r\n"
        assert b"evil" not in talk.received
    assert server.signed_in.secure
    assert any(b"PASS wonderland" in command for command in server.signed_in.commands)


def test_a_list_of_capabilities_from_before_tls_is_forgotten(fronted: Fronted, certificates: Certificates) -> None:
    def script(connection: Connection) -> None:
        connection.send(b"+OK scripted\r\n")
        answer_until(connection, b"STLS", CAPA + b" STLS UTF8 LANG")
        connection.send(b"+OK begin\r\n")
        connection.handshake()
        go_on(connection)

    _, front = fronted(script, "starttls", "pop3")
    assert eventually(lambda: front.events("server.probed"))
    with client(front, certificates) as talk:
        talk.send(b"CAPA\r\n")
        assert b"\r\nUTF8\r\n" not in talk.multiline()
        assert say(talk, b"UTF8").startswith(b"-ERR")
        say(talk, b"USER alice")
        assert say(talk, b"PASS wonderland").startswith(b"+OK")
        talk.send(b"CAPA\r\n")
        answer = talk.multiline()
    assert b"\r\nUIDL\r\n" in answer
    assert b"UTF8" not in answer
    assert b"STLS" not in answer


def test_no_password_goes_to_a_server_that_does_not_offer_stls(fronted: Fronted, certificates: Certificates) -> None:
    def script(connection: Connection) -> None:
        connection.send(b"+OK scripted\r\n")
        answer_until(connection, b"STLS")
        connection.send(b"-ERR what?\r\n")
        go_on(connection)

    server, front = fronted(script, "starttls", "pop3")
    with client(front, certificates) as talk:
        say(talk, b"USER alice")
        assert say(talk, b"PASS wonderland").startswith(b"-ERR [SYS/TEMP]")
    said = b"".join(command for connection in server.connections for command in connection.commands)
    assert b"STLS" in said
    assert b"wonderland" not in said
    assert b"alice" not in said


@KINDS
@pytest.mark.parametrize("ending", ["close", "reset"])
def test_a_server_that_dies_in_mid_message_leaves_no_end_that_it_did_not_say(
    ending: str, names: bytes, fronted: Fronted, certificates: Certificates
) -> None:
    half = b"+OK 100000 octets\r\n" + b"a line of the message\r\n" * 2000 + b"half a li"

    def script(connection: Connection) -> None:
        connection.sign_in(capabilities=names)
        answer_until(connection, b"RETR 1", names)
        connection.send(half)
        time.sleep(0.2)
        if ending == "reset":
            connection.reset()
        raise Ended

    _, front = fronted(script, "none", "pop3")
    with signed_in(front, certificates) as talk:
        talk.send(b"RETR 1\r\n")
        rest = talk.rest(10)
    # An -ERR or a dot would become text of the message, or its end.
    assert half.startswith(rest)
    if ending == "close":
        assert rest == half

    def closed() -> list[dict[str, object]]:
        return [event for event in front.events("session.closed") if event.get("user") == "alice"]

    assert eventually(closed)
    (event,) = closed()
    assert event["mode"] == ("watch" if UNKNOWN in names else "tunnel")
    assert event["side"] == "server"
    assert event["reason"] in ("server_closed", "server_reset")


@KINDS
def test_a_client_that_does_not_read_stops_the_server_being_read(names: bytes, fronted: Fronted, certificates: Certificates) -> None:
    block = b"x" * 62 + b"\r\n"
    block *= MIB // len(block)

    def script(connection: Connection) -> None:
        connection.sign_in(capabilities=names)
        answer_until(connection, b"RETR 1", names)
        connection.send(b"+OK\r\n")
        for _ in range(BIG // len(block)):
            connection.send(block)
        connection.send(b".\r\n")
        go_on(connection)

    server, front = fronted(script, "none", "pop3")
    with signed_in(front, certificates) as talk:
        before = front.memory()
        talk.send(b"RETR 1\r\n")
        end = server.signed_in
        assert eventually(lambda: end.sent > MIB)
        assert at_rest(lambda: end.sent) < BIG // 4
        assert front.memory() - before < MOST_HELD
        assert talk.line() == b"+OK\r\n"
        digest = hashlib.sha256()
        for _ in range(BIG // len(block)):
            digest.update(talk.exactly(len(block)))
            talk.received = b""
        assert talk.line() == b".\r\n"
        assert front.memory() - before < MOST_HELD
    assert digest.digest() == hashlib.sha256(block * (BIG // len(block))).digest()


def test_a_dot_alone_in_a_message_cut_anywhere_is_not_its_end(fronted: Fronted, certificates: Certificates) -> None:
    letter = b"+OK\r\nfirst\r\n..\r\n...two\r\n" + messages.noise(40, "x").hex().encode() + b"\r\n.\r\n"

    def script(connection: Connection) -> None:
        connection.sign_in(capabilities=CAPA + b" " + UNKNOWN)
        answer_until(connection, b"RETR 1", CAPA + b" " + UNKNOWN)
        for start in range(len(letter)):
            connection.send(letter[start : start + 1])
            time.sleep(0.001)
        go_on(connection)

    _, front = fronted(script, "none", "pop3")
    with signed_in(front, certificates) as talk:
        talk.send(b"RETR 1\r\nNOOP\r\n")
        assert talk.exactly(len(letter)) == letter
        assert talk.line() == b"+OK done\r\n"
