"""Dialling: every address is tried, and the end is told once."""

from __future__ import annotations

import asyncio
import select
import socket
import time
from pathlib import Path
from typing import Any

import pytest
from portico.upstream.dial import CannotCarry, Carry, Dial


class Board:
    """The reactor's part, in small."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.poll = select.epoll()
        self.handlers: dict[int, Dial] = {}
        self.loop.add_reader(self.poll.fileno(), self._turn)

    @property
    def now(self) -> float:
        return time.monotonic()

    def register(self, fd: int, handler: Dial) -> None:
        self.handlers[fd] = handler
        self.poll.register(fd, select.EPOLLET | select.EPOLLIN | select.EPOLLOUT)

    def release(self, sock: socket.socket) -> None:
        self.handlers.pop(sock.fileno(), None)
        sock.close()

    def _turn(self) -> None:
        for fd, mask in self.poll.poll(0):
            if fd in self.handlers:
                self.handlers[fd].ready(mask)

    def close(self) -> None:
        self.loop.remove_reader(self.poll.fileno())
        self.poll.close()


def dial(
    address: str, seconds: float = 60.0, addresses: list[Any] | Exception | None = None, sweep: float = 0.02, carry: Carry | None = None
) -> tuple[str, ...]:
    """What became of it. `addresses`: what the name resolves to, or why it does not."""

    async def main() -> tuple[str, ...]:
        board = Board()
        if addresses is not None:

            async def resolve(*_: Any, **__: Any) -> Any:
                if isinstance(addresses, Exception):
                    raise addresses
                return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", at) for at in addresses]

            board.loop.getaddrinfo = resolve  # type: ignore[assignment]
        ends: list[tuple[str, ...]] = []

        def connected(sock: socket.socket, mask: int, registered: bool) -> None:
            name = sock.getpeername()
            ends.append(("connected", str(name)))
            board.release(sock)

        trying = Dial(board, address, seconds, connected, lambda reason, detail: ends.append((reason, detail)), carry)
        trying.start()
        while not ends:
            await asyncio.sleep(sweep)
            trying.sweep(board.now)
        await asyncio.sleep(0.05)
        board.close()
        assert len(ends) == 1
        return ends[0]

    return asyncio.run(main())


@pytest.fixture
def nobody() -> Any:
    """An address that refuses and stays taken: bound, and nobody listens."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()


@pytest.fixture
def server() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        yield sock


@pytest.fixture
def silent() -> Any:
    """An address that takes no connection and refuses none: its queue is full."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(0)
        fillers = []
        for _ in range(4):
            filler = socket.socket()
            filler.setblocking(False)
            filler.connect_ex(sock.getsockname())  # on the loopback interface it is in the queue when this returns
            fillers.append(filler)
        yield sock.getsockname()
        for filler in fillers:
            filler.close()


def test_a_literal_address_is_reached(server: socket.socket) -> None:
    host, port = server.getsockname()
    assert dial(f"{host}:{port}") == ("connected", str((host, port)))


def test_a_port_where_nobody_listens_is_refused(nobody: Any) -> None:
    assert dial(f"{nobody[0]}:{nobody[1]}")[0] == "refused"


def test_every_address_of_a_name_is_tried(server: socket.socket, nobody: Any) -> None:
    here = server.getsockname()
    assert dial("mail.example.org:143", addresses=[nobody, nobody, here]) == ("connected", str(here))


def test_an_address_that_does_not_answer_leaves_time_for_the_next(server: socket.socket, silent: Any) -> None:
    began = time.monotonic()
    assert dial("mail.example.org:143", 3.0, [silent, server.getsockname()]) == ("connected", str(server.getsockname()))
    assert time.monotonic() - began > 1.0


def test_no_answer_at_all_is_a_time_out(silent: Any) -> None:
    assert dial(f"{silent[0]}:{silent[1]}", 0.3)[0] == "timeout"


def test_when_all_fail_the_last_one_gives_the_reason(nobody: Any) -> None:
    assert dial("mail.example.org:143", addresses=[nobody, nobody])[0] == "refused"


def test_a_name_that_nobody_knows_is_a_dns_failure() -> None:
    unknown = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert dial("no-such-host.invalid:143", addresses=unknown)[0] == "dns"


def test_a_unix_socket_is_reached_and_a_missing_one_is_refused(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "imap"))
        sock.listen()
        assert dial(f"unix:{tmp_path}/imap") == ("connected", f"{tmp_path}/imap")
    assert dial(f"unix:{tmp_path}/gone")[0] == "refused"


def test_after_cancel_nothing_is_told(server: socket.socket) -> None:
    async def main() -> None:
        board = Board()
        ends: list[Any] = []
        for address in (f"127.0.0.1:{server.getsockname()[1]}", "localhost:1"):
            trying = Dial(board, address, 5.0, lambda *end: ends.append(end), lambda *end: ends.append(end))
            trying.start()
            told = len(ends)
            trying.cancel()
            await asyncio.sleep(0.1)
            assert len(ends) == told
            assert repr(trying) == f"<Dial {address} over>"
        board.close()

    asyncio.run(main())


def test_whoever_carries_is_asked_for_the_socket_and_the_address_is_not_dialled(server: socket.socket) -> None:
    async def carry() -> socket.socket:
        return socket.create_connection(server.getsockname())

    assert dial("10.255.255.1:143", carry=carry) == ("connected", str(server.getsockname()))


def test_why_nobody_can_carry_is_the_reason() -> None:
    async def carry() -> socket.socket:
        raise CannotCarry("ssh_auth", "no key")

    assert dial("10.255.255.1:143", carry=carry) == ("ssh_auth", "no key")


def test_whoever_carries_too_long_is_asked_no_more() -> None:
    over: list[str] = []

    async def carry() -> socket.socket:
        try:
            await asyncio.Event().wait()
        finally:
            over.append("cancelled")
        raise AssertionError

    assert dial("10.255.255.1:143", 0.1, carry=carry)[0] == "timeout"
    assert over == ["cancelled"]
