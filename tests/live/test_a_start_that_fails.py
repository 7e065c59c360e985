"""A `portico run` of which one worker can start and the other cannot.

Rule of this file: which of them it is, the workers settle themselves: the plugin starts in the first that comes, and in no other.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from portico.demo.child import DemoError
from portico.demo.ports import wait_until

from tests.live.test_processes import Client, House, play

pytestmark = pytest.mark.live

ONCE = """
import os, time
from pathlib import Path
from portico.plugin import hookimpl
class Plugin:
    @hookimpl
    def proxy_started(self):
        try:
            os.close(os.open("first", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            Path("second").touch()
            while not Path("enough").exists():
                time.sleep(0.02)
            raise RuntimeError("not twice") from None
"""


def test_who_comes_while_one_worker_cannot_start_is_not_let_in_by_the_other(tmp_path: Path) -> None:
    information = tmp_path / "once-1.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: once\nVersion: 1\n")
    (information / "entry_points.txt").write_text("[portico.plugins]\nonce = once:Plugin\n")
    (tmp_path / "once.py").write_text(ONCE)

    async def act(house: House) -> None:
        house.write(more="[listeners.imap.plugins.once]")
        process = await asyncio.create_subprocess_exec(*house.command, env=os.environ | {"PYTHONPATH": str(tmp_path)}, cwd=tmp_path)
        await asyncio.to_thread(partial(wait_until, "the second worker", (tmp_path / "second").exists, seconds=60))
        client = Client(*await asyncio.open_connection("127.0.0.1", house.port))
        with suppress(DemoError):  # time enough for a worker that lets clients in
            await asyncio.to_thread(partial(wait_until, "a worker", lambda: bool(house.events("session.connected")), seconds=0.5))
        (tmp_path / "enough").touch()
        assert await client.line() == ""
        assert await process.wait() == 3
        assert "not twice" in house.events("proxy.failed")[0]["problems"][0]
        assert not house.events("session.connected") and not house.events("worker.started")

    play(tmp_path, act)
