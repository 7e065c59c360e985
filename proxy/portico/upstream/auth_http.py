"""A service that checks passwords and says where to go, asked in the words of nginx's ngx_mail_auth_http_module.

Rule of this file: the same headers with the same meaning as nginx sends and takes, so that a service written for nginx need not know who
asks. Its OK is a proof of who the client is: it has seen the password. aiohttp is imported only where somebody has such a service.
"""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Final

from portico.config.sections.upstream import AuthHttp
from portico.config.units import SECONDS
from portico.errors import Secret
from portico.session.context import Refusal
from portico.upstream.lookups import Answer, Cached, Digest, Found, LookupFailed, Question, Report

if TYPE_CHECKING:
    import aiohttp

_METHODS: Final = {"PLAIN": "plain", "LOGIN": "plain", "USER": "plain", "EXTERNAL": "external"} | {
    "XOAUTH2": "xoauth2",
    "OAUTHBEARER": "oauthbearer",
}
_ESCAPED: Final = re.compile(rb"[\0-\x20%]")
"""What nginx escapes (NGX_ESCAPE_MAIL_AUTH)."""
_LONGEST_WAIT: Final = 60 * SECONDS
_WAITS: Final = 5
"""So often a service may say WAIT to one login."""


def escaped(octets: bytes) -> str:
    """As nginx writes a name or a password into a header. Octets that are no UTF-8, which no header of ours can carry, are escaped too."""
    text = _ESCAPED.sub(lambda found: b"%%%02X" % found[0][0], octets).decode("utf-8", "surrogateescape")
    return re.sub(r"[\udc80-\udcff]", lambda found: f"%{ord(found[0]) - 0xDC00:02X}", text)


def question_headers(question: Question) -> dict[str, str]:
    """The headers of one question, in nginx's order."""
    peer = question.view.peer
    headers = {
        "Auth-Method": _METHODS[question.mechanism],
        "Auth-User": escaped(question.user.encode()),
        "Auth-Pass": escaped(question.password.reveal()) if question.password is not None else "",
        "Auth-Protocol": question.view.protocol,
        "Auth-Login-Attempt": str(question.attempt),
        "Client-IP": peer.rip,
    }
    if peer.tls is not None:
        headers |= {"Auth-SSL": "on", "Auth-SSL-Protocol": peer.tls.version, "Auth-SSL-Cipher": peer.tls.cipher}
        if peer.tls.client_name is not None:
            headers["Auth-SSL-Verify"] = "SUCCESS"
    return headers


class AuthHttpLookup:
    """See upstream.lookups.Lookup. Connects when first asked."""

    def __init__(self, name: str, settings: AuthHttp, report: Report) -> None:
        self.name = name
        self._settings = settings
        self._tls = ssl.create_default_context(cafile=settings.ca_file) if settings.url.startswith("https:") else None
        self._digest = Digest()
        self._session: aiohttp.ClientSession | None = None
        self._cached = Cached(name, self._ask, self._key, self._holds, report, most=settings.cached, seconds=None)

    def __repr__(self) -> str:
        return f"<AuthHttpLookup {self.name} {self._settings.url} {len(self._cached.answers)} known>"

    def find(self, question: Question) -> Answer | Awaitable[Answer]:
        if question.mechanism not in _METHODS or (question.password is None and question.mechanism != "EXTERNAL"):
            return Refusal("This kind of sign-in is not possible here.", "CANNOT", "no_mechanism")
        return self._cached.find(question)

    async def close(self) -> None:
        """Close its connections; asked again, it connects again."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _key(self, question: Question) -> object:
        view = question.view
        return question.user, view.protocol, view.peer.rip, _METHODS[question.mechanism], self._digest.of(question.password)

    def _holds(self, answer: Answer) -> float:
        if isinstance(answer, Found):
            return self._settings.ttl
        return self._settings.ttl_refused if isinstance(answer, Refusal) and answer.counts else 0.0

    async def _ask(self, question: Question) -> Answer:
        for _ in range(_WAITS):
            answer = await self._once(question_headers(question))
            status = answer.get("auth-status", "")
            seconds = min(_number(answer.get("auth-wait", ""), "Auth-Wait", 1 << 31), _LONGEST_WAIT) if "auth-wait" in answer else 0
            if status.upper() == "OK":
                return self._found(answer)
            await asyncio.sleep(seconds)
            if status.upper() != "WAIT":
                temporary = answer.get("auth-error-code", "").startswith("4")  # an SMTP code (RFC 5321 4.2.1): it may succeed later
                return Refusal(status, "UNAVAILABLE" if temporary else "AUTHENTICATIONFAILED", "auth_http", counts=not temporary)
        raise LookupFailed("wait", f"it said WAIT {_WAITS} times")

    async def _once(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        import aiohttp

        if self._session is None:
            limit = self._settings.connections
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=limit, ssl=self._tls) if self._tls is not None else aiohttp.TCPConnector(limit=limit),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=self._settings.timeout),
                skip_auto_headers=("Accept", "Accept-Encoding", "User-Agent"),
            )
        further = {header.name: header.value.reveal().decode("utf-8", "replace") for header in self._settings.headers}
        try:
            async with self._session.get(self._settings.url, headers={**headers, **further}, allow_redirects=False) as response:
                answer = {name.lower(): value for name, value in response.headers.items()}
        except TimeoutError as error:
            raise LookupFailed("timeout", f"no answer in {self._settings.timeout:g} seconds") from error
        except aiohttp.ClientConnectorError as error:
            raise LookupFailed("unreachable", error.strerror or type(error.os_error).__name__) from error
        except (aiohttp.ClientError, OSError, ValueError) as error:  # their words may hold headers
            raise LookupFailed("protocol", type(error).__name__) from None
        if not answer.get("auth-status"):
            raise LookupFailed("protocol", f"HTTP status {response.status} without Auth-Status")
        return answer

    def _found(self, answer: Mapping[str, str]) -> Found:
        host, port = answer.get("auth-server", ""), answer.get("auth-port", "")
        if bool(host) != bool(port):
            raise LookupFailed("protocol", "one of Auth-Server and Auth-Port without the other")
        password = Secret(answer["auth-pass"].encode("utf-8", "surrogateescape")) if "auth-pass" in answer else None
        return Found(
            host=host,
            port=_number(port, "Auth-Port", 65535) if port else 0,
            user=answer.get("auth-user", ""),
            password=password,
            verified=True,
            template=self._settings.template,
            lookup=self.name,
        )


def _number(text: str, name: str, most: int) -> int:
    if not re.fullmatch(r"[0-9]{1,10}", text) or int(text) > most:
        raise LookupFailed("protocol", f"{name} is no number up to {most}")
    return int(text)
