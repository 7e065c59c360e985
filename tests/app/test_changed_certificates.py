"""A whole proxy whose certificates change while it runs."""

from __future__ import annotations

import asyncio
import datetime
import json
import shutil
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from portico.app.proxy import Proxy
from portico.config.load import read
from portico.tls.inspect import certificates_in, describe
from portico.tls.issue import issue_into

from tests.whole_proxy import port_of, running, soon


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Two sets of one authority: `old` is in use, `new` is not yet."""
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        for file in ("ca.pem", "ca.key"):
            if (tmp_path / "old" / file).exists():
                shutil.copy(tmp_path / "old" / file, tmp_path / name)
        issue_into(tmp_path / name, ["localhost", name + ".example"], ["portico@example.org"], beside=True)
    shutil.copytree(tmp_path / "old", tmp_path / "live")
    return tmp_path


def settings(place: Path, more: str = "") -> Path:
    file = place / "portico.toml"
    certificates = """
        certificate = "live/server.pem"
        key = "live/server.key"
        certificates = [{certificate = "live/server-rsa.pem", key = "live/server-rsa.key"}]
        server = "main"
        """
    file.write_text(
        f"""
        [servers.main]
        imap = "127.0.0.1:1"
        tls = "implicit"
        probe = false
        certificate = "live/portico@example.org.pem"
        key = "live/portico@example.org.key"
        [listeners.imaps]
        protocol = "imap"
        addresses = ["127.0.0.1:0"]
        {certificates}
        [listeners.imap]
        protocol = "imap"
        addresses = ["127.0.0.1:0"]
        tls = "starttls"
        {certificates}
        {more}
        """
    )
    return file


def events(place: Path, name: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (place / "log").read_text().splitlines()]
    return [line for line in lines if line["event"] == name]


def fingerprint(file: Path) -> str:
    return describe(certificates_in(file)[0]).fingerprint


async def implicit(proxy: Proxy, place: Path) -> str:
    """What a client is shown that begins with TLS."""
    context = ssl.create_default_context(cafile=str(place / "old" / "ca.pem"))
    reader, writer = await asyncio.open_connection("127.0.0.1", port_of(proxy, "imaps"), ssl=context, server_hostname="localhost")
    assert (await reader.readline()).startswith(b"* OK")
    return await shown(writer)


async def shown(writer: asyncio.StreamWriter) -> str:
    octets = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.close()
    return describe(x509.load_der_x509_certificate(octets)).fingerprint


def test_who_has_connected_before_gets_the_new_certificate_by_starttls(place: Path) -> None:
    async def scene() -> None:
        async with running(settings(place, '[tls]\ncheck = "20ms"')) as proxy:
            assert await implicit(proxy, place) == fingerprint(place / "old" / "server.pem")
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(proxy))
            assert (await reader.readline()).startswith(b"* OK")
            for name in ("server.pem", "server.key"):
                shutil.copy(place / "new" / name, place / "live" / "next")
                (place / "live" / "next").replace(place / "live" / name)
            await soon(lambda: len(events(place, "certificates.reloaded")) == 2)
            writer.write(b"a STARTTLS\r\n")
            assert (await reader.readline()).startswith(b"a OK")
            context = ssl.create_default_context(cafile=str(place / "old" / "ca.pem"))
            await writer.start_tls(context, server_hostname="localhost")
            assert await shown(writer) == fingerprint(place / "new" / "server.pem")
            assert await implicit(proxy, place) == fingerprint(place / "new" / "server.pem")

    asyncio.run(scene())
    assert {event["listener"] for event in events(place, "certificates.reloaded")} == {"imap", "imaps"}


def test_without_looking_a_reload_takes_them_up_and_refuses_them_when_they_are_broken(place: Path) -> None:
    async def scene() -> None:
        async with running(settings(place, '[tls]\ncheck = "0s"')) as proxy:
            (place / "live" / "server.pem").write_text("nothing")
            assert not await proxy.reload(read)
            assert await implicit(proxy, place) == fingerprint(place / "old" / "server.pem")
            for name in ("server.pem", "server.key"):
                shutil.copy(place / "new" / name, place / "live" / name)
            assert await implicit(proxy, place) == fingerprint(place / "old" / "server.pem")
            assert await proxy.reload(read)
            assert await implicit(proxy, place) == fingerprint(place / "new" / "server.pem")

    asyncio.run(scene())
    (rejected,) = events(place, "settings.rejected")
    assert all(str(place / "live" / "server.pem") in problem for problem in rejected["problems"])


def test_an_operator_is_told_of_each_certificate_and_when_it_ends(place: Path) -> None:
    async def scene() -> list[dict[str, Any]]:
        async with running(settings(place, '[tls]\nexpiry_warning = "400d"')) as proxy:
            assert await proxy.reload(read)
            return proxy.certificates()

    told = asyncio.run(scene())
    where = [(known.get("listener"), known.get("server"), Path(known["path"]).name) for known in told]
    both = ["server.pem", "server-rsa.pem"]
    assert where == [(listener, None, name) for listener in ("imaps", "imap") for name in both] + [
        (None, "main", "portico@example.org.pem")
    ]
    assert [known["key"] for known in told[:2]] == ["ECDSA P-256", "RSA 2048"]
    assert told[0]["names"] == ["localhost", "old.example"]
    end = certificates_in(place / "old" / "server.pem")[0].not_valid_after_utc
    assert datetime.datetime.fromisoformat(told[0]["not_after"]) == end
    warned = events(place, "certificate.expiring")
    assert len(warned) == 5  # once, although there was a reload
    assert {(event.get("listener"), event.get("server")) for event in warned} == {("imaps", None), ("imap", None), (None, "main")}
    assert json.dumps(told)  # plain values: they go from process to process
