"""Asking a server for its greeting and capabilities, off the data path.

Rule of this file: one short connection per question, bounded in time and octets, that signs nobody in but the user who is there for
that. What was said before TLS is kept apart from what was said after it. A failure is a ProbeFailed and harms nothing.
RFC 9051 6.1.1, 6.2.1; RFC 2449 (CAPA); RFC 2595 (STLS).
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ssl
from collections.abc import Collection
from contextlib import suppress
from typing import Any

from portico.config.address import parse_address
from portico.errors import PorticoError, Secret
from portico.session.context import Protocol, ServerFacts, TlsMode
from portico.upstream.dial import CannotCarry, Carry
from portico.wire import sasl
from portico.wire.imap import quote
from portico.wire.proxy_protocol import compose_local

_MAX_LINE = 1 << 16
_MAX_LINES = 200


class ProbeFailed(PorticoError):
    """`reason` is a word as in session.events.ServerFailed; `detail` is for the log."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail


async def probe(
    protocol: Protocol,
    address: str,
    tls: TlsMode,
    context: ssl.SSLContext | None,
    *,
    server_hostname: str | None = None,
    fingerprint: bytes | Collection[bytes] | None = None,
    carry: Carry | None = None,
    proxy_protocol: int | None = None,
    test_login: tuple[str, Secret] | None = None,
    timeout: float = 10.0,  # noqa: ASYNC109 (the promise of this function is that it ends)
) -> ServerFacts:
    """What the server at `address` offers before login; `carry` is who connects, if not we; `proxy_protocol`: the version of
    the PROXY header that it expects; `test_login`: who is signed in, too. Raises ProbeFailed."""
    asking = _Question(protocol, tls, context, server_hostname, fingerprint, carry, proxy_protocol)
    try:
        async with asyncio.timeout(timeout):
            facts = await asking.ask(address)
            if test_login is not None:
                await asking.sign_in(*test_login, facts)
            return facts
    except TimeoutError as error:
        raise ProbeFailed("timeout", f"no answer in {timeout:g} seconds") from error
    except ssl.SSLCertVerificationError as error:
        raise ProbeFailed("tls_verify", error.verify_message) from error
    except ssl.SSLError as error:
        raise ProbeFailed("tls", error.reason or "TLS failed") from error
    except CannotCarry as error:
        raise ProbeFailed(error.reason, error.detail) from error
    except ConnectionRefusedError as error:
        raise ProbeFailed("refused") from error
    except asyncio.IncompleteReadError as error:
        raise ProbeFailed("closed", "the server closed the connection") from error
    except (asyncio.LimitOverrunError, ValueError) as error:
        raise ProbeFailed("protocol", "the answer cannot be understood") from error
    except OSError as error:
        raise ProbeFailed("unreachable", error.strerror or type(error).__name__) from error
    finally:
        await asking.end()


class _Question:
    """One connection."""

    def __init__(
        self,
        protocol: Protocol,
        tls: TlsMode,
        context: ssl.SSLContext | None,
        server_hostname: str | None,
        fingerprint: bytes | Collection[bytes] | None,
        carry: Carry | None,
        proxy_protocol: int | None,
    ) -> None:
        self._imap = protocol == "imap"
        self._tls = tls
        self._context = context
        self._hostname = server_hostname
        self._fingerprint = fingerprint
        self._carry = carry
        self._version = proxy_protocol
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, address: str) -> ServerFacts:
        """The whole dialogue."""
        where = parse_address(address)
        # Passing None as the context would mean no TLS: a server that is to be reached by TLS is never probed without.
        if self._tls != "none" and self._context is None:
            raise ProbeFailed("tls", "no TLS context")
        implicit = {"ssl": self._context, "server_hostname": self._hostname or ""}
        options: dict[str, Any] = implicit if self._tls == "implicit" and self._version is None else {}
        if self._carry is not None:
            sock = await self._carry()
            self._reader, self._writer = await asyncio.open_connection(sock=sock, limit=_MAX_LINE, **options)
        elif where.path:
            self._reader, self._writer = await asyncio.open_unix_connection(where.path, limit=_MAX_LINE, **options)
        else:
            self._reader, self._writer = await asyncio.open_connection(where.host, where.port, limit=_MAX_LINE, **options)
        if self._version is not None:
            self._writer.write(compose_local(self._version))
            if self._tls == "implicit":
                assert self._context is not None
                await self._writer.start_tls(self._context, server_hostname=self._hostname or "")
        if self._tls == "implicit":
            self._pinned()
        greeting = await self._line()
        if not greeting.startswith(b"* OK" if self._imap else b"+OK"):
            raise ProbeFailed("greeting", "the server does not take connections now")
        names = await self._capabilities()
        if self._tls == "implicit":
            return ServerFacts((), names, self._mechanisms(names))
        if self._tls == "none":
            return ServerFacts(names, (), self._mechanisms(names))
        await self._start_tls()
        secured = await self._capabilities()
        return ServerFacts(names, secured, self._mechanisms(secured))

    async def _line(self) -> bytes:
        assert self._reader is not None
        return (await self._reader.readuntil(b"\n")).rstrip(b"\r\n")

    def _say(self, line: bytes) -> None:
        assert self._writer is not None
        self._writer.write(line + b"\r\n")

    async def _capabilities(self) -> tuple[bytes, ...]:
        if self._imap:
            return await self._imap_capabilities()
        self._say(b"CAPA")
        if not (await self._line()).startswith(b"+OK"):
            return ()  # RFC 1939 alone: there is no list
        names: list[bytes] = []
        for _ in range(_MAX_LINES):
            line = await self._line()
            if line == b".":
                return tuple(names)
            names.append(line)
        raise ProbeFailed("protocol", "the list does not end")

    async def _imap_capabilities(self) -> tuple[bytes, ...]:
        self._say(b"P1 CAPABILITY")
        names: tuple[bytes, ...] = ()
        for _ in range(_MAX_LINES):
            line = await self._line()
            if line[:13].upper() == b"* CAPABILITY ":
                names = tuple(line[13:].split())
            elif line.startswith(b"P1 "):
                return names
        raise ProbeFailed("protocol", "the list does not end")

    async def _start_tls(self) -> None:
        assert self._writer is not None and self._context is not None and self._reader is not None
        self._say(b"P2 STARTTLS" if self._imap else b"STLS")
        for _ in range(_MAX_LINES):
            line = await self._line()
            if self._imap and not line.startswith(b"P2 "):
                continue
            if line.split(b" ")[1 if self._imap else 0].upper() not in (b"OK", b"+OK"):
                raise ProbeFailed("no_starttls", "the server does not offer TLS")
            break
        # What came in clear behind the OK is nothing that we may believe (RFC 9051 11.1); a server that sends it is not probed.
        with suppress(TimeoutError):
            async with asyncio.timeout(0):
                await self._reader.read(1)
                raise ProbeFailed("protocol", "octets in clear behind STARTTLS")
        await self._writer.start_tls(self._context, server_hostname=self._hostname or "")
        self._pinned()

    def _pinned(self) -> None:
        if self._fingerprint is None:
            return
        assert self._writer is not None
        tls: ssl.SSLObject = self._writer.get_extra_info("ssl_object")
        certificate = tls.getpeercert(binary_form=True) or b""
        shown = hashlib.sha256(certificate).digest()
        pins = [self._fingerprint] if isinstance(self._fingerprint, bytes) else self._fingerprint
        if not any(hmac.compare_digest(shown, pin) for pin in pins):
            raise ProbeFailed("tls_verify", "another certificate than the one pinned")

    def _mechanisms(self, names: tuple[bytes, ...]) -> tuple[str, ...]:
        upper = [name.decode("ascii", "replace").upper() for name in names]
        if self._imap:
            return tuple(name[5:] for name in upper if name.startswith("AUTH="))
        return tuple(word for name in upper if name.startswith("SASL ") for word in name.split()[1:])

    async def sign_in(self, user: str, password: Secret, facts: ServerFacts) -> None:
        """Whether somebody can sign in. The words of a server that refuses are not told: they may have the password in them."""
        if "PLAIN" in facts.mechanisms:
            initial = sasl.plain("", user, password).initial or b""
            steps = [b"P3 AUTHENTICATE PLAIN" if self._imap else b"AUTH PLAIN", sasl.encode(initial)]
        elif self._imap:
            name, secret = quote(user.encode()), quote(password.reveal())
            if name is None or secret is None:
                raise ProbeFailed("test_login", "the server does not offer PLAIN, and the name or the password is no quoted string")
            steps = [b"P3 LOGIN %b %b" % (name, secret)]
        else:
            steps = [b"USER " + user.encode(), b"PASS " + password.reveal()]
        for number, step in enumerate(steps):
            self._say(step)
            if not await self._accepted(last=number == len(steps) - 1):
                raise ProbeFailed("test_login", "the server refuses the test user")

    async def _accepted(self, *, last: bool) -> bool:
        for _ in range(_MAX_LINES):
            line = await self._line()
            if not self._imap:
                return line.startswith(b"+OK") or (not last and line.startswith(b"+"))
            if line.startswith(b"P3 "):
                return line[3:5].upper() == b"OK"
            if line.startswith(b"+") and not last:
                return True
        raise ProbeFailed("protocol", "the answer does not end")

    async def end(self) -> None:
        """Say goodbye and close, without waiting for an answer."""
        writer = self._writer
        if writer is None:
            return
        with suppress(OSError, ssl.SSLError):
            if not writer.is_closing():
                self._say(b"P9 LOGOUT" if self._imap else b"QUIT")
            writer.close()
