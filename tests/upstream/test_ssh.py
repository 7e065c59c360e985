"""Servers behind an SSH host: one connection, many sessions, and a word for everything that can go wrong."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncssh
import portico
import pytest
from portico.config.address import Address
from portico.config.sections.ssh import Ssh
from portico.upstream.carried import Near
from portico.upstream.dial import CannotCarry
from portico.upstream.probe import ProbeFailed, probe
from portico.upstream.ssh import FIRST_REST, LAST_REST, Carrier, Carriers

HOST_KEY = asyncssh.generate_private_key("ssh-ed25519")
USER_KEY = asyncssh.generate_private_key("ssh-ed25519")
STRANGER = asyncssh.generate_private_key("ssh-ed25519")
PATIENCE = 60.0


@dataclass
class Host:
    """An SSH host in this process. It counts who has signed in."""

    port: int = 0
    forwards: bool = True
    connections: list[asyncssh.SSHServerConnection] = field(default_factory=list)
    acceptor: asyncssh.SSHAcceptor | None = None

    async def start(self) -> None:
        host = self

        class Door(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                self.connection = conn

            def begin_auth(self, username: str) -> bool:
                return True

            def public_key_auth_supported(self) -> bool:
                return True

            def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
                return username == "tunnel" and key == USER_KEY.convert_to_public()

            def auth_completed(self) -> None:
                host.connections.append(self.connection)

            def connection_requested(self, *_: Any) -> bool:
                if not host.forwards:
                    raise asyncssh.ChannelOpenError(asyncssh.OPEN_ADMINISTRATIVELY_PROHIBITED, "open failed")
                return True

            def unix_connection_requested(self, dest_path: str) -> bool:
                return True

        self.acceptor = await asyncssh.listen("127.0.0.1", self.port, server_factory=Door, server_host_keys=[HOST_KEY])
        self.port = self.acceptor.get_port()

    async def stop(self) -> None:
        assert self.acceptor is not None
        self.acceptor.close()
        for connection in self.connections:
            connection.abort()
        await self.acceptor.wait_closed()


@dataclass
class Place:
    """What a test has: a host, files, and a log."""

    directory: Path
    host: Host = field(default_factory=Host)
    events: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def report(self, event: str, fields: dict[str, Any]) -> None:
        self.events.append((event, fields))

    def named(self, name: str) -> list[dict[str, Any]]:
        return [fields for event, fields in self.events if event == name]

    def settings(self, **changes: Any) -> Ssh:
        key = self.directory / "id"
        USER_KEY.write_private_key(key)
        known = {"host": "127.0.0.1", "port": self.host.port, "user": "tunnel", "key": str(key), "fingerprint": HOST_KEY.get_fingerprint()}
        return Ssh(**{**known, **changes})

    def known_hosts(self, key: asyncssh.SSHKey) -> str:
        file = self.directory / "known_hosts"
        file.write_text(f"[127.0.0.1]:{self.host.port} {key.export_public_key().decode()}")
        return str(file)


def run(test: Callable[[Place], Awaitable[None]], directory: Path) -> Place:
    place = Place(directory)

    async def main() -> None:
        await place.host.start()
        try:
            async with asyncio.timeout(PATIENCE):
                await test(place)
        finally:
            await place.host.stop()

    asyncio.run(main())
    return place


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def until(condition: Callable[[], object]) -> None:
    while not condition():  # noqa: ASYNC110 - what is waited for is no event of ours
        await asyncio.sleep(0.01)


@asynccontextmanager
async def server(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]], path: str = "") -> AsyncIterator[Address]:
    """Where it answers."""
    here = await asyncio.start_unix_server(serve, path) if path else await asyncio.start_server(serve, "127.0.0.1", 0)
    async with here:
        yield Address(path=path) if path else Address(*here.sockets[0].getsockname())


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while some := await reader.read(65536):
        writer.write(some)
        await writer.drain()
    writer.write(b"<end>")
    writer.close()


async def said(sock: socket.socket, octets: bytes) -> bytes:
    """What comes back when these octets are sent and our half is closed."""
    reader, writer = await asyncio.open_connection(sock=sock)
    writer.write(octets)
    writer.write_eof()
    answer = await reader.read()
    writer.close()
    return answer


async def refusal(carrier: Carrier, where: Address) -> CannotCarry:
    with pytest.raises(CannotCarry) as raised:
        await carrier.carry(where)
    return raised.value


def test_fifty_sessions_share_one_connection(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        carrier = Carrier(place.settings(), place.report)
        async with server(echo) as where:
            socks = [await carrier.carry(where) for _ in range(50)]
            assert carrier.ways == 50
            assert await asyncio.gather(*(said(sock, b"%d" % n) for n, sock in enumerate(socks))) == [b"%d<end>" % n for n in range(50)]
            await until(lambda: carrier.ways == 0)
        assert len(place.host.connections) == 1
        await carrier.stop()

    place = run(test, tmp_path)
    assert [event for event, _ in place.events] == ["ssh.connected"]


def test_octets_come_as_they_were_sent_and_a_closed_half_is_passed_on(tmp_path: Path) -> None:
    octets = os.urandom(3 << 20)

    async def test(place: Place) -> None:
        carrier = Carrier(place.settings(), place.report)
        async with server(echo) as where:
            answer = await said(await carrier.carry(where), octets)
        assert hashlib.sha256(answer[:-5]).digest() == hashlib.sha256(octets).digest() and answer.endswith(b"<end>")
        await carrier.stop()

    run(test, tmp_path)


def test_a_unix_socket_of_the_host_is_reached(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        carrier = Carrier(place.settings(), place.report)
        async with server(echo, str(tmp_path / "imap")) as where:
            assert await said(await carrier.carry(where), b"a") == b"a<end>"
        await carrier.stop()

    run(test, tmp_path)


def test_what_is_not_taken_is_not_read(tmp_path: Path) -> None:
    sent = 0

    async def pour(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        with_limit = writer.transport
        with_limit.set_write_buffer_limits(high=0)
        for _ in range(4096):
            writer.write(bytes(16384))
            await writer.drain()
            sent += 16384
        writer.close()

    async def test(place: Place) -> None:
        carrier = Carrier(place.settings(window=64 << 10), place.report)
        async with server(pour) as where:
            sock = await carrier.carry(where)
            before = -1
            while not sent or before != sent:  # until it comes to a stand
                before = sent
                await asyncio.sleep(0.3)
            assert 0 < sent < 32 << 20  # of 64 MiB: the kernel's buffers on the way, which are no memory of ours
            reader, writer = await asyncio.open_connection(sock=sock)
            got = 0
            while some := await reader.read(1 << 20):
                got += len(some)
            assert got == 64 << 20
            writer.close()
        await carrier.stop()

    run(test, tmp_path)


def test_a_session_that_is_gone_is_gone_at_the_server_too(tmp_path: Path) -> None:
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read())  # to the end
        writer.close()

    async def test(place: Place) -> None:
        carrier = Carrier(place.settings(), place.report)
        async with server(listen) as where:
            sock = await carrier.carry(where)
            sock.send(b"LOGOUT")
            sock.close()
            await until(lambda: heard == [b"LOGOUT"] and carrier.ways == 0)
        await carrier.stop()

    run(test, tmp_path)


def test_a_session_that_leaves_after_its_half_close_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("portico.upstream.carried._LOOK", 0.02)
    looked: list[bool] = []
    left = Near._left
    monkeypatch.setattr(Near, "_left", lambda near: looked.append(left(near)) or looked[-1])
    silence = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await silence.wait()
        writer.close()

    async def test(place: Place) -> None:
        carrier = Carrier(place.settings(), place.report)
        async with server(silent) as where:
            sock = await carrier.carry(where)
            sock.shutdown(socket.SHUT_WR)
            await until(lambda: len(looked) >= 3)
            assert not any(looked) and carrier.ways == 1
            sock.close()
            await until(lambda: carrier.ways == 0)
            silence.set()
        await carrier.stop()

    run(test, tmp_path)


def test_a_host_that_is_in_known_hosts_is_trusted(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        carrier = Carrier(place.settings(fingerprint=None, known_hosts=place.known_hosts(HOST_KEY)), place.report)
        async with server(echo) as where:
            assert await said(await carrier.carry(where), b"") == b"<end>"
        await carrier.stop()

    run(test, tmp_path)


@pytest.mark.parametrize("by", ["known_hosts", "fingerprint"])
def test_a_host_with_another_key_gets_nothing_of_us(tmp_path: Path, by: str) -> None:
    async def test(place: Place) -> None:
        changes = {"known_hosts": place.known_hosts(STRANGER), "fingerprint": None} if by == "known_hosts" else {}
        carrier = Carrier(place.settings(**({"fingerprint": STRANGER.get_fingerprint()} | changes)), place.report)
        error = await refusal(carrier, Address("127.0.0.1", 1))
        assert error.reason == "ssh_host_key" and HOST_KEY.get_fingerprint() in error.detail
        assert place.host.connections == []
        await carrier.stop()

    place = run(test, tmp_path)
    assert place.named("ssh.failed")[0]["reason"] == "ssh_host_key"


def test_a_key_that_the_host_does_not_take_is_a_matter_of_ssh_auth(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        STRANGER.write_private_key(tmp_path / "other")
        carrier = Carrier(place.settings(key=str(tmp_path / "other")), place.report)
        assert (await refusal(carrier, Address("127.0.0.1", 1))).reason == "ssh_auth"
        await carrier.stop()

    run(test, tmp_path)


@pytest.mark.parametrize("changes", [{"key": "{tmp}/none"}, {"key": None, "agent": "{tmp}/none"}])
def test_a_key_that_is_not_there_is_a_matter_of_ssh_auth(tmp_path: Path, changes: dict[str, str | None]) -> None:
    async def test(place: Place) -> None:
        filled = {name: text.replace("{tmp}", str(tmp_path)) if text else None for name, text in changes.items()}
        carrier = Carrier(place.settings(**filled), place.report)
        error = await refusal(carrier, Address("127.0.0.1", 1))
        assert error.reason == "ssh_auth" and f"{tmp_path}/none" in error.detail
        await carrier.stop()

    run(test, tmp_path)


def test_a_host_that_does_not_forward_says_so(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        place.host.forwards = False
        carrier = Carrier(place.settings(), place.report)
        assert (await refusal(carrier, Address("127.0.0.1", 1))).reason == "ssh_forbidden"
        await until(lambda: carrier.ways == 0)
        await carrier.stop()

    run(test, tmp_path)


def test_a_server_that_refuses_the_host_is_told_as_any_server(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        carrier = Carrier(place.settings(), place.report)
        with socket.socket() as nobody:
            nobody.bind(("127.0.0.1", 0))
            error = await refusal(carrier, Address(*nobody.getsockname()))
        assert error.reason in ("refused", "unreachable") and error.detail.startswith("seen from the SSH host: ")
        await carrier.stop()

    run(test, tmp_path)


def test_after_a_failure_who_asks_is_told_at_once_and_the_host_is_left_alone_ever_longer(tmp_path: Path) -> None:
    now, waits = 0.0, []

    async def sleep(seconds: float) -> None:
        nonlocal now
        if seconds:
            waits.append(seconds)
            now += seconds
        if len(waits) >= 8:
            await asyncio.Event().wait()
        await asyncio.sleep(0)

    async def test(place: Place) -> None:
        carrier = Carrier(place.settings(fingerprint=STRANGER.get_fingerprint()), place.report, sleep=sleep, clock=lambda: now)
        carrier.start()
        await until(lambda: len(waits) == 8)
        tries = len(place.named("ssh.failed"))
        # The rest was slept through, but the clock has not moved on: nobody tries.
        assert waits[:3] == [FIRST_REST, 2 * FIRST_REST, 4 * FIRST_REST] and waits[-1] == LAST_REST
        assert tries == 8
        await carrier.stop()

    run(test, tmp_path)


def test_a_lost_connection_ends_its_sessions_and_is_made_again(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        carrier = Carrier(place.settings(), place.report)
        carrier.names = ["main"]
        carrier.start()
        async with server(echo) as where:
            await until(lambda: place.named("ssh.connected"))
            reader, writer = await asyncio.open_connection(sock=await carrier.carry(where))
            place.host.connections[0].abort()
            assert await reader.read() == b""
            writer.close()
            await until(lambda: len(place.named("ssh.connected")) == 2)
            assert await said(await carrier.carry(where), b"again") == b"again<end>"
        await carrier.stop()

    place = run(test, tmp_path)
    assert [event for event, _ in place.events] == ["ssh.connected", "ssh.lost", "ssh.connected"]
    assert place.named("ssh.lost")[0]["sessions"] == 1 and place.named("ssh.lost")[0]["names"] == ["main"]


def test_a_host_that_says_nothing_any_more_is_lost(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        carrier = Carrier(place.settings(keepalive=0.05), place.report)
        async with server(echo) as where:
            reader, writer = await asyncio.open_connection(sock=await carrier.carry(where))
            transport: Any = place.host.connections[0]._transport  # the host hangs: it neither reads nor answers
            transport.pause_reading()
            assert await reader.read() == b""
            writer.close()
            await until(lambda: place.named("ssh.lost"))
            place.host.connections[0].abort()
        await carrier.stop()

    run(test, tmp_path)


def test_a_reload_leaves_alone_what_has_not_changed_and_a_host_not_wanted_any_more_ends_with_its_last_session(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        carriers = Carriers(place.report)
        one, two = place.settings(), place.settings(keepalive=30.0)
        carriers.keep([("main", one), ("archive", place.settings())])
        first = carriers.of(one)
        await until(lambda: place.named("ssh.connected"))
        assert place.named("ssh.connected")[0]["names"] == ["main", "archive"]
        async with server(echo) as where:
            sock = await first.carry(where)
            carriers.keep([("main", place.settings())])
            assert carriers.of(place.settings()) is first and len(place.host.connections) == 1
            carriers.keep([("main", two)])
            await until(lambda: len(place.host.connections) == 2)
            assert not place.host.connections[0].is_closed()
            assert await said(sock, b"still") == b"still<end>"
            await until(place.host.connections[0].is_closed)
        await carriers.stop()
        await until(place.host.connections[1].is_closed)

    place = run(test, tmp_path)
    assert not place.named("ssh.lost")


def test_a_host_that_is_not_wanted_any_more_while_it_is_being_connected_is_not_kept(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        carriers = Carriers(place.report)
        carriers.keep([("main", place.settings())])
        await asyncio.sleep(0)
        carriers.keep([])
        await until(lambda: place.named("ssh.connected"))
        await until(lambda: place.host.connections and place.host.connections[0].is_closed())

    place = run(test, tmp_path)
    assert not place.named("ssh.lost")


def test_who_waits_while_a_host_is_being_connected_is_carried_although_it_is_not_wanted_any_more(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        carrier = Carrier(place.settings(), place.report)
        async with server(echo) as where:
            waiting = asyncio.create_task(carrier.carry(where))
            await asyncio.sleep(0)
            carrier.retire()
            assert await said(await waiting, b"last") == b"last<end>"
            await until(place.host.connections[0].is_closed)

    run(test, tmp_path)


def test_without_a_descriptor_a_session_is_refused_and_not_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left() -> tuple[socket.socket, socket.socket]:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async def test(place: Place) -> None:
        carrier = Carrier(place.settings(), place.report)
        async with server(echo) as where:
            await said(await carrier.carry(where), b"")
            await until(lambda: carrier.ways == 0)
            with monkeypatch.context() as patched:
                patched.setattr(socket, "socketpair", none_left)
                assert "open files" in (await refusal(carrier, where)).detail
            assert carrier.ways == 0
        await carrier.stop()

    run(test, tmp_path)


def test_a_server_behind_the_host_is_probed_through_it(tmp_path: Path) -> None:
    async def imap(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"* OK here\r\n")
        await reader.readline()
        writer.write(b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nP1 OK done\r\n")
        await reader.read()
        writer.close()

    async def test(place: Place) -> None:
        carrier = Carrier(place.settings(), place.report)
        async with server(imap) as where:
            facts = await probe("imap", str(where), "none", None, carry=lambda: carrier.carry(where))
            assert facts.mechanisms == ("PLAIN",)
            place.host.forwards = False
            with pytest.raises(ProbeFailed) as raised:
                await probe("imap", str(where), "none", None, carry=lambda: carrier.carry(where))
            assert raised.value.reason == "ssh_forbidden"
        await carrier.stop()

    run(test, tmp_path)


def test_what_a_session_gave_up_waiting_for_leaves_nothing_open(tmp_path: Path) -> None:
    async def test(place: Place) -> None:
        carrier = Carrier(place.settings(), place.report)
        async with server(echo) as where:
            await said(await carrier.carry(where), b"")
            before = descriptors()
            for turns in range(12):
                waiting = asyncio.create_task(carrier.carry(where))
                for _ in range(turns):
                    await asyncio.sleep(0)
                waiting.cancel()
                for outcome in await asyncio.gather(waiting, return_exceptions=True):
                    if isinstance(outcome, socket.socket):
                        outcome.close()
            await until(lambda: carrier.ways == 0 and descriptors() <= before)
        await carrier.stop()

    run(test, tmp_path)


def test_who_needs_no_ssh_host_pays_nothing_for_it() -> None:
    code = "import sys, portico.app.main, portico.config.check; sys.exit('asyncssh' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_nothing_is_run_to_have_ssh() -> None:
    code = (
        "import sys\n"
        "sys.addaudithook(lambda event, _: sys.exit(event) if event in ('subprocess.Popen', 'os.posix_spawn', 'os.exec', 'os.system') else None)\n"
        "import portico.upstream.ssh\n"
        "assert 'asyncssh' in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0


def test_everybody_takes_asyncssh_from_where_nothing_is_run_for_it() -> None:
    source = Path(portico.__file__).parent
    takers = {
        file.relative_to(source)
        for file in source.rglob("*.py")
        if re.search(r"^\s*(import|from) asyncssh", file.read_text(), re.MULTILINE)
    }
    assert takers == {Path("config/ssh_library.py")}
