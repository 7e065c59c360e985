"""`portico ctl`: the same verbs over a unix socket."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import pty
import socket
import stat
import sys
from pathlib import Path

from tests.console.places import Place, place
from tests.whole_proxy import PATIENCE, soon

CTL = [sys.executable, "-m", "portico", "ctl"]


async def _ctl(here: Place, *words: str) -> tuple[int | None, str, str]:
    process = await asyncio.create_subprocess_exec(
        *CTL, "--socket", str(here.directory / "ctl"), *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE)
    return process.returncode, out.decode(), err.decode()


def test_a_script_gets_json_and_an_exit_code(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here:
            alice = await here.signs_in("alice")
            assert stat.S_IMODE((tmp_path / "ctl").stat().st_mode) == 0o600
            code, out, _ = await _ctl(here, "who", "--json")
            assert code == 0
            assert [entry["user"] for entry in json.loads(out)] == ["alice"]
            code, _, err = await _ctl(here, "show", "nobody")
            assert (code, err) == (1, "there is no session nobody\n")
            assert (await _ctl(here, "kick"))[0] == 2
            assert (await _ctl(here, "kick", "--all"))[:2] == (0, "1 session ended\n")
            assert await alice.line() == "* BYE You have been disconnected by the operator.\r\n"
            assert {each["operator"] for each in here.logged("console.command")} == {getpass.getuser()}

    asyncio.run(tried())


def test_the_socket_is_found_in_the_settings_also_in_those_that_are_just_being_mended(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path):
            with (tmp_path / "portico.toml").open("a") as file:
                file.write('\n[limits]\nsessions = "many"\n\n[listeners.x]\nprotocol = "smtp"\n')
            process = await asyncio.create_subprocess_exec(
                *CTL, "-c", str(tmp_path / "portico.toml"), "stats", "--json", stdout=asyncio.subprocess.PIPE
            )
            out, _ = await asyncio.wait_for(process.communicate(), PATIENCE)
            assert json.loads(out)["sessions"] == 0

    asyncio.run(tried())


def test_nobody_there_is_said_and_a_socket_left_behind_is_replaced(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here:
            pass
        assert not (tmp_path / "ctl").exists()
        code, _, err = await _ctl(here, "who")
        assert code == 1
        assert "does Portico run?" in err
        with socket.socket(socket.AF_UNIX) as left:
            left.bind(str(tmp_path / "ctl"))
        async with place(tmp_path) as again:
            assert (await _ctl(again, "holds", "--json"))[:2] == (0, "[]\n")

    asyncio.run(tried())


def test_a_file_in_the_place_of_the_socket_and_one_that_a_link_leads_to_stay_as_they_are(tmp_path: Path) -> None:
    async def tried() -> None:
        (tmp_path / "precious").write_text("mail")
        for make in (lambda at: at.write_text("mail"), lambda at: at.symlink_to(tmp_path / "precious")):
            make(tmp_path / "ctl")
            async with place(tmp_path) as here:
                assert here.logged("console.failed")[0]["text"].endswith("ctl: is there and is not a socket")
                assert (await here.run("holds")).exit_status == 0, "over SSH all is well"
            assert (tmp_path / "ctl").read_text() == "mail"
            (tmp_path / "ctl").unlink()

    asyncio.run(tried())


def test_a_peer_that_speaks_something_else_is_let_go(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here:
            for said in (b"GET / HTTP/1.0\r\n\r\n", b"[]\n", b'{"words": 5}\n', b"x" * 200_000, b""):
                reader, writer = await asyncio.open_unix_connection(str(tmp_path / "ctl"))
                writer.write(said)
                writer.write_eof()
                async with asyncio.timeout(PATIENCE):
                    assert b"exit" not in await reader.read()
                writer.close()
            assert here.logged("proxy.bug") == []
            assert (await _ctl(here, "holds", "--json"))[0] == 0

    asyncio.run(tried())


def test_top_follows_the_keys_of_a_terminal(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here:
            alice = await here.signs_in("alice")
            ours, theirs = pty.openpty()
            process = await asyncio.create_subprocess_exec(
                *CTL, "--socket", str(tmp_path / "ctl"), "top", "--every", "0.2", stdin=theirs, stdout=theirs
            )
            os.close(theirs)
            os.set_blocking(ours, False)
            shown = b""

            def drawn() -> bool:
                nonlocal shown
                try:
                    shown += os.read(ours, 65536)
                except BlockingIOError:
                    pass
                return shown.count(b"\x1b[H") >= 3 and b"alice" in shown

            assert await soon(drawn)
            os.write(ours, b"q")
            assert await asyncio.wait_for(process.wait(), PATIENCE) == 0
            os.close(ours)
            alice.writer.close()

    asyncio.run(tried())
