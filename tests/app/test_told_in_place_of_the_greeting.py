"""Who comes while the proxy is ending, and has not been greeted yet, is told so in place of the greeting."""

from __future__ import annotations

import asyncio
import json
import ssl
from pathlib import Path

import pytest
from portico.app.proxy import Proxy
from portico.plugin import Session, hookimpl
from portico.testing.certificates import issue

from tests.whole_proxy import PATIENCE, port_of, proxy_with, soon

BYE = b"* BYE [UNAVAILABLE] Maintenance.\r\n"


def ends(place: Path) -> list[tuple[str, str]]:
    lines = [json.loads(line) for line in (place / "log").read_text().splitlines()]
    return [(line["reason"], line["side"]) for line in lines if line["event"] == "session.closed"]


async def told_to_end(proxy: Proxy) -> asyncio.Task[int]:
    """All sessions are to end; the one there is has heard of it."""
    session = next(iter(proxy.sessions))
    stopping = asyncio.create_task(proxy.sessions.stop("Maintenance.", PATIENCE))
    await soon(lambda: session._session.context.refusal is not None)  # type: ignore[attr-defined]
    return stopping


class Slow:
    """Takes its time to say that it has nothing against a client."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    @hookimpl
    async def client_connected(self, session: Session) -> None:
        await self.go.wait()


async def waiting_for_a_plugin(place: Path) -> None:
    slow = Slow()
    async with proxy_with(place, '[listeners.imap.plugins.slow]\n[listeners.imap.timeouts]\nplugin = "60s"', {"slow": slow}) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(proxy))
        await soon(lambda: len(proxy.sessions))
        stopping = await told_to_end(proxy)
        slow.go.set()
        assert await asyncio.wait_for(reader.read(), PATIENCE) == BYE
        await stopping
        writer.close()


async def in_the_middle_of_the_handshake(place: Path) -> None:
    files = issue(place)
    more = f'\n[listeners.tls]\nprotocol="imap"\naddresses=["127.0.0.1:0"]\nserver="main"\ncertificate="{files.certificate}"\nkey="{files.key}"'
    async with proxy_with(place, more) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(proxy, "tls"))
        await soon(lambda: len(proxy.sessions))
        stopping = await told_to_end(proxy)
        await asyncio.wait_for(writer.start_tls(ssl.create_default_context(cafile=files.authority), server_hostname="localhost"), PATIENCE)
        assert await asyncio.wait_for(reader.read(), PATIENCE) == BYE
        await stopping
        writer.close()


@pytest.mark.parametrize("when", [waiting_for_a_plugin, in_the_middle_of_the_handshake])
def test_a_client_that_has_not_been_greeted_yet_is_told_that_the_proxy_ends(when: object, tmp_path: Path) -> None:
    asyncio.run(when(tmp_path))  # type: ignore[operator]
    assert ends(tmp_path) == [("shutdown", "operator")]
