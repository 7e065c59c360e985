"""One connection: a socket, with or without TLS, and what the socket would not take yet.

Rule of this file: octets in, octets out; who they are for is the owner's business. Nothing is buffered per connection but
what a send left over. TLS goes through the reactor's one pair of memory BIOs, and every method here leaves both empty.

With edge triggering "there may be more to read" is a flag (`readable`), not an event: whoever stops early comes back by itself.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections import deque
from contextlib import suppress
from itertools import islice
from typing import Any, Final, Protocol

from portico.config.units import KIB
from portico.relay.reactor import BUFFER, CLEAR, ENDS, IN, OUT, Reactor

_ANSWERS: Final = 64 * KIB
"""TLS's own answers (to KeyUpdate) that may wait for a peer that sends but does not read."""
_RESET: Final = struct.pack("ii", 1, 0)
_HALF_CLOSING: Final = "TLSv1.3"
Socket = socket.SocketType
"""The system's own calls, without what socket.socket puts around them in Python; whatever has the same methods will do."""


class Owner(Protocol):
    """Who is told when a channel can be read or written."""

    def ready(self, channel: Channel, mask: int) -> None: ...

    def resume(self, channel: Channel) -> None: ...


class Channel:
    """A connected, non-blocking socket. `leg` is the owner's name for it."""

    __slots__ = (
        "_answers", "_shaken", "early", "eof", "fin", "finished", "finishing", "holds", "leg", "lost", "owner", "peer", "reactor",
        "readable", "received", "reset", "sent", "shaking", "sock", "stalled", "tls", "truncated", "unsent",
    )  # fmt: skip

    def __init__(self, reactor: Reactor, sock: Socket, leg: int, owner: Owner | None = None, mask: int = 0) -> None:
        self.reactor = reactor
        self.sock: Socket | None = sock
        self.leg = leg
        self.owner = owner
        self.peer: Channel | None = None
        """The other end of a tunnel."""
        self.tls: Any = None
        """What octets are read from and written to, see `_inner`; None: there is no TLS."""
        self._shaken: ssl.SSLObject | None = None
        self.shaking = False
        """A handshake has begun and is not done."""
        self.early = b""
        """In clear, received together with the end of a handshake."""
        self.unsent: deque[memoryview] | None = None
        """What the socket would not take; None: nothing."""
        self.stalled = 0.0
        """Since when (the reactor's clock) it has taken nothing, while something is unsent."""
        self.readable = bool(mask & (IN | ENDS))
        """There may be something to read."""
        self.fin = bool(mask & ENDS)
        """The system has said that the peer's half has ended: read on until it is reached."""
        self.eof = False
        """All that will ever come has been read."""
        self.reset = ""
        """How the connection broke, in the system's words; empty: it did not."""
        self.truncated = False
        """TLS: the end came without close_notify (RFC 8446 6.1)."""
        self.lost = ""
        """Why nothing can be sent any more; empty: it can."""
        self.finishing = False
        """Our half is to end when the rest has been sent."""
        self.finished = False
        """Our half has ended."""
        self.holds = 0
        """The owner's reasons not to read it, as bits."""
        self.received = 0
        """Octets in clear, since it was made."""
        self.sent = 0
        self._answers = 0

    def __repr__(self) -> str:
        words = [self.tls.version() or "shaking hands" if self.tls is not None else "clear"]
        if self.sock is None:
            words = ["closed"]
        for word, holds in (("readable", self.readable), ("held", self.holds), ("eof", self.eof), ("lost", self.lost)):
            if holds:
                words.append(word)
        if self.unsent is not None:
            words.append(f"{self.waiting} octets unsent")
        return f"<Channel {self.leg} {' '.join(words)}>"

    # -- the reactor's side

    def ready(self, mask: int) -> None:
        owner = self.owner
        if owner is not None:
            owner.ready(self, mask)

    def resume(self) -> None:
        owner = self.owner
        if owner is not None:
            owner.resume(self)

    def note(self, mask: int) -> None:
        """Keep what epoll has said."""
        if mask & ~OUT and not self.eof:
            self.readable = True
            if mask & ENDS:
                self.fin = True

    # -- reading

    def pull(self) -> memoryview | None:
        """One read of the socket: what came, in clear, valid until anybody's next pull. None: nothing; then see `readable` and `eof`."""
        if self.early:
            early, self.early = self.early, b""
            self.received += len(early)
            return memoryview(early)
        if not self.readable:
            return None
        reactor = self.reactor
        buffer = reactor.buffer
        try:
            count = self.sock.recv_into(buffer)  # type: ignore[union-attr]
        except BlockingIOError:
            self.readable = False
            return None
        except OSError as error:
            self._broken(error.strerror or "connection lost")
            return None
        if count < BUFFER:
            if not count:
                self.readable = False
                self.eof = True
                self.truncated = self.tls is not None
                return None
            if not self.fin:
                self.readable = False  # epoll(7): a short read has emptied the socket; what comes next is a new edge
        if self.tls is None:
            self.received += count
            return buffer[:count]
        reactor.incoming.write(buffer[:count])
        count = self._decrypt()
        if reactor.outgoing.pending:
            self._answer()
        if not count:
            return None
        self.received += count
        return reactor.clear[:count]

    def _decrypt(self) -> int:
        """Empty the incoming BIO into the clear buffer; the number of octets in clear."""
        incoming, clear, read = self.reactor.incoming, self.reactor.clear, self.tls.read
        count = 0
        try:
            while True:
                more: int = read(CLEAR - count, clear[count:] if count else clear)
                if not more:
                    self._ended()
                    break
                count += more
                # One read gives all of a record: there is always room for a whole one (reactor.CLEAR). So nothing is left in OpenSSL.
                if not incoming.pending:
                    break
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self._ended()
        except ssl.SSLError as error:
            # What was decrypted before the bad record is good and was authenticated; nothing behind it is.
            self._broken(f"TLS: {error.reason or 'failed'}")
        return count

    def _ended(self) -> None:
        """close_notify: the peer's half has ended, ours has not (RFC 8446 6.1). RFC 5246 7.2.1 would let us throw away what is still to be
        sent; sending it harms nobody."""
        self.readable = False
        self.eof = True
        self.reactor.incoming.read()  # RFC 8446 6.1: what follows a closure alert must be ignored

    def _broken(self, how: str) -> None:
        self.readable = False
        self.eof = True
        self.reset = how
        if self.reactor.incoming.pending:
            self.reactor.incoming.read()

    def _answer(self) -> None:
        """Send what TLS itself has to say: the answer to a KeyUpdate, an alert, tickets."""
        octets = self.reactor.outgoing.read()
        if self.lost or self.finished:
            return
        if not self._put(octets):
            self._answers += len(octets)
            if self._answers > _ANSWERS:
                self._broken("TLS: answers are asked for and not read")

    # -- writing

    @property
    def waiting(self) -> int:
        """Octets on the wire's side that the socket has not taken."""
        return sum(map(len, self.unsent)) if self.unsent is not None else 0

    def push(self, data: bytes | memoryview) -> bool:
        """Send `data` (not empty, in clear). False: a part of it waits, and will be sent by `flush`.

        What cannot be sent any more is dropped, and `lost` says why.
        """
        if self.lost or self.finishing:
            return True
        self.sent += len(data)
        if self.tls is not None:
            try:
                self.tls.write(data)
            except ssl.SSLError as error:
                self.lost = f"TLS: {error.reason or 'failed'}"
                self.reactor.outgoing.read()
                return True
            data = self.reactor.outgoing.read()
        if self.unsent is not None:
            return self._keep(data, 0)
        try:
            count = self.sock.send(data)  # type: ignore[union-attr]
        except BlockingIOError:
            count = 0
        except OSError as error:
            self.lost = error.strerror or "connection lost"
            return True
        return count == len(data) or self._keep(data, count)

    def _put(self, octets: bytes) -> bool:
        """As `push`, of TLS's own."""
        count = 0
        if self.unsent is None:
            try:
                count = self.sock.send(octets)  # type: ignore[union-attr]
            except BlockingIOError:
                pass
            except OSError as error:
                self.lost = error.strerror or "connection lost"
                return True
        return count == len(octets) or self._keep(octets, count)

    def _keep(self, data: bytes | memoryview, count: int) -> bool:
        """All but `count` octets wait. Returns False, as `push` does then."""
        if self.unsent is not None:
            self.unsent.append(memoryview(bytes(data)))
            return False
        rest = memoryview(data)[count:]
        # A slice of the shared buffer has to be copied; of a ciphertext only when that frees more than it costs.
        keep = isinstance(data, bytes) and count < len(data) // 2
        self.unsent = deque((rest if keep else memoryview(bytes(rest)),))
        self.stalled = self.reactor.now
        return False

    def flush(self) -> bool:
        """Send what waits. True: nothing waits any more."""
        unsent = self.unsent
        if unsent is None:
            return True
        try:
            while unsent:
                # Several pieces in one call; the limit is well below the system's (IOV_MAX).
                count = self.sock.send(unsent[0]) if len(unsent) == 1 else self.sock.sendmsg(islice(unsent, 64))  # type: ignore[union-attr]
                self.stalled = self.reactor.now
                while unsent and count >= len(unsent[0]):
                    count -= len(unsent.popleft())
                if count:
                    unsent[0] = unsent[0][count:]
                    return False
        except BlockingIOError:
            return False
        except OSError as error:
            self.lost = error.strerror or "connection lost"
        self.unsent = None
        self._answers = 0
        if self.finishing and not self.finished:
            self._finish()
        return True

    # -- TLS

    def start_tls(self, context: ssl.SSLContext, *, server_side: bool, hostname: str | None = None) -> None:
        """Begin a handshake; `shake` goes on with it. What was read in clear and not taken yet is thrown away (RFC 9051 11.1)."""
        reactor = self.reactor
        self.early = b""
        self.shaking = True
        self._shaken = context.wrap_bio(reactor.incoming, reactor.outgoing, server_side=server_side, server_hostname=hostname)
        self.tls = _inner(self._shaken)
        if not server_side:
            self._step()

    def shake(self) -> bool:
        """Go on with the handshake. True: it is done; what came with its end is in `early`. Raises OSError (ssl.SSLError is
        one) when it has failed; the peer has been sent the alert.

        The last flight of a server may wait as `unsent` for what the owner has to say: it must `flush`."""
        assert self.tls is not None
        reactor = self.reactor
        while self.readable:
            try:
                count = self.sock.recv_into(reactor.buffer)  # type: ignore[union-attr]
            except BlockingIOError:
                self.readable = False
                return False
            if not count:
                self.readable = False
                raise ConnectionResetError(0, "closed in the TLS handshake")
            if count < BUFFER and not self.fin:
                self.readable = False
            reactor.incoming.write(reactor.buffer[:count])
            if self._step():
                self.shaking = False
                if reactor.incoming.pending:
                    # No event will come for what arrived together with the peer's Finished.
                    self.early = bytes(reactor.clear[: self._decrypt()])
                    self.readable |= self.eof  # its end may have come, too, and the owner finds that by reading
                    if reactor.outgoing.pending:
                        self._answer()
                return True
        return False

    def agreed(self) -> ssl.SSLObject:
        """What tells of the handshake that is done; once: it is not kept."""
        shaken, self._shaken = self._shaken, None
        assert shaken is not None
        return shaken

    def _step(self) -> bool:
        reactor = self.reactor
        done = False
        try:
            self.tls.do_handshake()
            done = True
        except ssl.SSLWantReadError:
            pass
        except OSError:
            reactor.incoming.read()
            raise
        finally:
            if reactor.outgoing.pending:
                octets = reactor.outgoing.read()
                if done and self.unsent is None and self.tls.server_side:
                    # The ticket: it goes out together with the greeting, when the owner flushes.
                    self.unsent = deque((memoryview(octets),))
                    self.stalled = reactor.now
                else:
                    self._put(octets)
        return done

    @property
    def half_closes(self) -> bool:
        """Our half can end while the peer goes on: not so in TLS 1.2, where a closure alert ends both (RFC 5246 7.2.1)."""
        return self.tls is None or self.tls.version() == _HALF_CLOSING

    # -- ending

    def finish(self) -> None:
        """End our half, orderly: close_notify and FIN, when what waits has been sent."""
        if not self.finishing:
            self.finishing = True
            if self.unsent is None:
                self._finish()

    def _finish(self) -> None:
        self.finished = True
        if self.sock is not None and not self.lost:
            self._alert()
            with suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)

    def depart(self) -> None:
        """End both halves at once, orderly as far as nothing waits: for a peer that expects nothing more."""
        if self.sock is not None and not self.lost and not self.finished and self.unsent is None:
            self._alert()
        self.close()

    def _alert(self) -> None:
        """Say close_notify."""
        if self.tls is None or self.shaking:
            return
        reactor = self.reactor
        try:
            _say_close(self.tls)  # writes close_notify, then wants the peer's, for which nobody waits here
        except (ssl.SSLError, ValueError):
            pass
        if reactor.outgoing.pending:
            octets = reactor.outgoing.read()
            try:
                self.sock.send(octets)  # type: ignore[union-attr]
            except OSError:
                pass
        if reactor.incoming.pending:
            reactor.incoming.read()

    def close(self) -> None:
        """Give everything back. The peer sees what the system makes of it: a FIN, or a reset where something was not read."""
        sock, self.sock = self.sock, None
        if sock is not None:
            self.reactor.release(sock)
        self.tls = self._shaken = None
        self.owner = None
        self.peer = None
        self.unsent = None
        self.early = b""
        self.readable = False

    def abort(self) -> None:
        """End it so that it cannot be taken for complete: reset, without close_notify."""
        if self.sock is not None:
            with suppress(OSError):
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close()


def _inner(tls: ssl.SSLObject) -> Any:
    """ssl.SSLObject passes each call on, in Python, to an object of the module's own, which is smaller, too: that is asked, where there
    is one."""
    return getattr(tls, "_sslobj", tls)


def _say_close(tls: Any) -> None:
    """What ssl.SSLObject.unwrap does."""
    (tls.unwrap if isinstance(tls, ssl.SSLObject) else tls.shutdown)()
