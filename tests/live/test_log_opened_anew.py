"""SIGUSR1 after logrotate: all processes go on in a new file, in the form that the settings want."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from portico.demo.ports import free_ports, wait_until

pytestmark = pytest.mark.live

PATIENCE = 60.0


def lines(file: Path) -> list[dict[str, Any]]:
    if not file.exists():
        return []
    return [json.loads(line) for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]


def test_after_logrotate_all_processes_write_into_the_new_file_with_the_names_that_were_set(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    log, old, settings = tmp_path / "log", tmp_path / "log.1", tmp_path / "portico.toml"
    settings.write_text(
        f"""
        [servers.main]
        imap = "127.0.0.1:1"
        [listeners.imap]
        protocol = "imap"
        addresses = ["127.0.0.1:{port}"]
        tls = "none"
        plain_login = true
        server = "main"
        [log]
        level = "debug"
        names = "ecs"
        file = "{log}"
        [workers]
        count = 1
        """
    )

    def told(file: Path, action: str) -> bool:
        return any(line.get("event.action") == action for line in lines(file))

    async def wait(what: str, file: Path, action: str) -> None:
        await asyncio.to_thread(wait_until, what, lambda: told(file, action), seconds=PATIENCE)

    async def act() -> None:
        process = await asyncio.create_subprocess_exec(sys.executable, "-m", "portico", "run", "-c", str(settings), cwd=tmp_path)
        try:
            await wait("Portico", log, "proxy.started")
            log.rename(old)
            process.send_signal(signal.SIGUSR1)
            await asyncio.to_thread(wait_until, "the new file", log.exists, seconds=PATIENCE)
            while not told(log, "session.connected"):  # until the worker has heard of it, it writes into the old one
                _, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.close()
                await asyncio.sleep(0.05)
        finally:
            process.terminate()
            await process.wait()

    async def patiently() -> None:
        async with asyncio.timeout(PATIENCE):
            await act()

    asyncio.run(patiently())
    assert told(log, "proxy.stopped") and not told(old, "proxy.stopped")
