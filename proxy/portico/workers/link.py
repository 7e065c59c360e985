"""A control socket between two processes of one Portico: questions, answers and open sockets, both ways.

Rule of this file: one JSON object a line; it knows who waits for what, not what it means. Descriptors go with the line that names how
many there are (unix(7), SCM_RIGHTS): they come not later than its first octet, in the order of the lines. Nothing that is sent
here comes from a client unless a handler put it into an answer.

    {"id": 7, "ask": "kick", "arguments": {"user": "alice"}, "sockets": 0}      a question; with "follow" instead: many answers
    {"id": 7, "answer": ["0sx…"]}    {"id": 7, "error": "no such session"}      its answer
    {"id": 7, "item": …}   {"id": 7, "end": true}   {"id": 7, "enough": true}   one of many; the last; the asker wants no more
    {"tell": "…", "arguments": {}}                                              wants no answer
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

from portico.config.units import KIB, MIB, SECONDS
from portico.errors import PorticoError

_READ: Final = 64 * KIB
_SOON: Final = 0.02 * SECONDS
"""What wants no answer waits so long for something to go with."""
_MOST_SOCKETS: Final = 250
"""In one message; SCM_MAX_FD is 253."""
_LONGEST: Final = 64 * MIB
"""A line; whoever sends more is out of order."""
_FULL: Final = 256 * KIB
"""Waiting to be sent: who answers with many items waits until it is less."""

OURS: Final = "worker."
"""What only the supervisor says to a worker begins so; all other verbs are an operator's."""

Sockets = list[socket.socket]
Answer = Callable[[str, dict[str, Any], Sockets], Awaitable[Any]]
"""Answers a question. A PorticoError is an answer too: its text is told. The sockets are the answerer's to close."""
Follow = Callable[[str, dict[str, Any]], AsyncIterator[Any]]


_encode: Final = json.JSONEncoder(separators=(",", ":")).encode
LATER: Final = object()
"""It cannot be answered at once."""


class Refused(PorticoError):
    """The other side cannot or will not; the text says why. `details`: more, for programs."""

    def __init__(self, text: str, details: Any = None) -> None:
        super().__init__(text)
        self.details = details


class Gone(Refused):
    """The other side is not there any more."""


class Link:
    """One end. Made inside a running loop; `answer` and `follow` may be set later, before the first question comes."""

    def __init__(self, sock: socket.socket, answer: Answer, follow: Follow | None = None) -> None:
        self.answer = answer
        self.follow_for = follow
        self.at_once: Callable[[str, dict[str, Any]], Any] | None = None
        """Asked first: the answer to what need not be waited for, or LATER. Spares a task for what is asked at each login."""
        self.on_fault: Callable[[BaseException, str], None] = lambda error, verb: None
        """Told when an answerer raised what is no PorticoError."""
        self._loop = asyncio.get_running_loop()
        self._sock: socket.socket | None = sock
        sock.setblocking(False)
        self.gone: asyncio.Future[None] = self._loop.create_future()
        """Done when the other side has ended, or `close` was called."""
        self._number = 0
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._following: dict[int, asyncio.Queue[tuple[str, Any]]] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._told: set[asyncio.Future[Any]] = set()
        self._rest = bytearray()
        self._sockets: deque[socket.socket] = deque()
        self._out: deque[tuple[memoryview, Sockets]] = deque()
        self._lines: list[str] = []
        """Not yet in `_out`: they go together."""
        self._flush: asyncio.Handle | None = None
        self._unsent = 0
        self._room = asyncio.Event()
        self._room.set()
        self._loop.add_reader(sock, self._readable)

    def __repr__(self) -> str:
        return f"<Link {'gone' if self._sock is None else 'open'} {len(self._waiting)} asked, {len(self._tasks)} to answer>"

    # -- asking

    async def ask(self, verb: str, arguments: Mapping[str, Any] | None = None, sockets: Sequence[socket.socket] = ()) -> Any:
        """The other side's answer. Raises Refused, Gone. The sockets stay open here too. They must not block: that is
        a property of what both sides have in common (fcntl(2), O_NONBLOCK), and a copy of one that blocks would make the other block."""
        number = self._next()
        waiting = self._waiting[number] = self._loop.create_future()
        try:
            self._send({"id": number, "ask": verb, "arguments": arguments or {}, "sockets": len(sockets)}, list(sockets))
            return await waiting
        finally:
            self._waiting.pop(number, None)

    async def follow(self, verb: str, arguments: Mapping[str, Any]) -> AsyncIterator[Any]:
        """The other side's answers as they come, until it ends or the iterator is closed. Raises Refused, Gone."""
        number = self._next()
        queue = self._following[number] = asyncio.Queue()
        try:
            self._send({"id": number, "follow": verb, "arguments": arguments})
            while True:
                kind, value = await queue.get()
                if kind == "item":
                    yield value
                elif kind == "error":
                    raise value
                else:
                    return
        finally:
            del self._following[number]
            if self._sock is not None:
                self._send({"id": number, "enough": True})

    def tell(self, verb: str, arguments: Mapping[str, Any] | None = None) -> None:
        """Say something that wants no answer; nothing happens if nobody is there."""
        with suppress(Gone):
            self._send({"tell": verb, "arguments": arguments or {}}, soon=True)

    def _next(self) -> int:
        self._number += 1
        return self._number

    # -- out

    def _send(self, message: dict[str, Any], sockets: Sockets | None = None, *, soon: bool = False) -> None:
        if self._sock is None:
            raise Gone("the process has ended")
        line = _encode(message)
        if sockets:
            self._push()
            self._post(line.encode() + b"\n", sockets)
            return
        self._lines.append(line)
        if not soon and isinstance(self._flush, asyncio.TimerHandle):
            self._flush.cancel()
            self._flush = None
        if self._flush is None:
            self._flush = self._loop.call_later(_SOON, self._push) if soon else self._loop.call_soon(self._push)

    def _push(self) -> None:
        if self._flush is not None:
            self._flush.cancel()
            self._flush = None
        if self._lines and self._sock is not None:
            self._lines.append("")
            lines, self._lines = self._lines, []
            self._post("\n".join(lines).encode(), [])

    def _post(self, line: bytes, sockets: Sockets) -> None:
        self._unsent += len(line)
        begin = not self._out
        # Ours are duplicated: the caller may close them before they are on their way.
        duplicates = [sock.dup() for sock in sockets]
        while len(duplicates) > _MOST_SOCKETS:
            self._out.append((memoryview(line[:1]), duplicates[:_MOST_SOCKETS]))
            line, duplicates = line[1:], duplicates[_MOST_SOCKETS:]
        self._out.append((memoryview(line), duplicates))
        if self._unsent >= _FULL:
            self._room.clear()
        if begin:
            self._writable()

    def _writable(self) -> None:
        while self._out and self._sock is not None:
            line, sockets = self._out[0]
            try:
                if sockets:
                    sent = socket.send_fds(self._sock, [line], [sock.fileno() for sock in sockets])
                else:
                    sent = self._sock.send(line)
            except (BlockingIOError, InterruptedError):
                self._loop.add_writer(self._sock, self._writable)
                return
            except OSError:
                self._end()
                return
            for sock in sockets:
                sock.close()
            self._unsent -= sent
            if sent == len(line):
                self._out.popleft()
            else:
                self._out[0] = (line[sent:], [])
        if self._sock is not None:
            self._loop.remove_writer(self._sock)
        if self._unsent < _FULL:
            self._room.set()

    # -- in

    def _readable(self) -> None:
        assert self._sock is not None
        try:
            data, descriptors, _, _ = socket.recv_fds(self._sock, _READ, _MOST_SOCKETS)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data, descriptors = b"", []
        for descriptor in descriptors:
            sock = socket.socket(fileno=descriptor)
            sock.setblocking(False)
            self._sockets.append(sock)
        if not data:
            self._end()
            return
        self._rest += data
        *lines, rest = self._rest.split(b"\n")
        self._rest = rest
        if len(rest) > _LONGEST:
            self._end()
            return
        for line in lines:
            if self.gone.done():
                return
            self._said(json.loads(line))

    def _said(self, message: dict[str, Any]) -> None:
        number = message.get("id", 0)
        if "ask" in message:
            sockets = [self._sockets.popleft() for _ in range(message["sockets"])]
            if self.at_once is not None and not sockets and self._answered(number, message["ask"], message["arguments"]):
                return
            self._begin(number, self._answer(number, message["ask"], message["arguments"], sockets))
        elif "follow" in message:
            self._begin(number, self._items(number, message["follow"], message["arguments"]))
        elif "tell" in message:
            if self.at_once is not None and self._answered(0, message["tell"], message["arguments"]):
                return
            task = asyncio.ensure_future(self._quietly(message["tell"], message["arguments"]))
            self._told.add(task)
            task.add_done_callback(self._told.discard)
        elif "enough" in message:
            if (running := self._tasks.get(number)) is not None:
                running.cancel()
        elif (waiting := self._waiting.get(number)) is not None:
            if not waiting.done():
                if "error" in message:
                    waiting.set_exception(Refused(message["error"], message.get("details")))
                else:
                    waiting.set_result(message.get("answer"))
        elif (queue := self._following.get(number)) is not None:
            if "item" in message:
                queue.put_nowait(("item", message["item"]))
            elif "error" in message:
                queue.put_nowait(("error", Refused(message["error"], message.get("details"))))
            else:
                queue.put_nowait(("end", None))

    # -- answering

    def _answered(self, number: int, verb: str, arguments: dict[str, Any]) -> bool:
        assert self.at_once is not None
        try:
            said = self.at_once(verb, arguments)
            if said is LATER:
                return False
            reply = {"id": number, "answer": said}
        except Exception as error:
            reply = {"id": number, **self._excuse(error, verb)}
        if number:
            self._send(reply)
        return True

    def _begin(self, number: int, work: Any) -> None:
        task = self._tasks[number] = self._loop.create_task(work)
        task.add_done_callback(lambda _: self._tasks.pop(number, None))

    async def _answer(self, number: int, verb: str, arguments: dict[str, Any], sockets: Sockets) -> None:
        try:
            reply = {"id": number, "answer": await self.answer(verb, arguments, sockets)}
        except Exception as error:
            reply = {"id": number, **self._excuse(error, verb)}
        with suppress(Gone):
            self._send(reply)

    async def _quietly(self, verb: str, arguments: dict[str, Any]) -> None:
        try:
            await self.answer(verb, arguments, [])
        except Exception as error:
            self._excuse(error, verb)

    async def _items(self, number: int, verb: str, arguments: dict[str, Any]) -> None:
        end: dict[str, Any] = {"id": number, "end": True}
        try:
            if self.follow_for is None:
                raise Refused(f"{verb} cannot be followed here")
            items = self.follow_for(verb, arguments)
            try:
                async for item in items:
                    self._send({"id": number, "item": item})
                    await self._room.wait()
            finally:
                if (aclose := getattr(items, "aclose", None)) is not None:
                    await aclose()
        except Exception as error:
            end = {"id": number, **self._excuse(error, verb)}
        with suppress(Gone):
            self._send(end)

    def _excuse(self, error: Exception, verb: str) -> dict[str, Any]:
        if isinstance(error, PorticoError):
            return {"error": str(error), "details": getattr(error, "details", None)}
        self.on_fault(error, verb)
        return {"error": f"a fault of Portico: {type(error).__name__}"}

    # -- the end

    def close(self) -> None:
        """Nothing more in either direction; who waits for an answer gets Gone, what is being answered is given up."""
        self._end()

    def _end(self) -> None:
        self._push()  # what was told last is said still, if there is room for it
        sock, self._sock = self._sock, None
        if sock is None:
            return
        self._loop.remove_reader(sock)
        self._loop.remove_writer(sock)
        sock.close()
        for _, sockets in self._out:
            for each in sockets:
                each.close()
        self._out.clear()
        while self._sockets:
            self._sockets.popleft().close()
        self._room.set()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(Gone("the process has ended"))
        for queue in self._following.values():
            queue.put_nowait(("error", Gone("the process has ended")))
        for task in list(self._tasks.values()):
            task.cancel()
        if not self.gone.done():
            self.gone.set_result(None)
