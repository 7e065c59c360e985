"""The console over SSH: who may come in, and what he may do."""

from __future__ import annotations

import asyncio
import json
import stat
from pathlib import Path

import asyncssh
import pytest
from portico.app.control import LocalControl
from portico.console.control import ControlError
from portico.console.ssh import Door, host_key

from tests.console.places import KEYS, Place, place, public
from tests.whole_proxy import PATIENCE, soon


def test_one_command_is_run_and_its_exit_code_told(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here:
            alice = await here.signs_in("alice")
            done = await here.run("who --json")
            assert done.exit_status == 0
            assert [entry["user"] for entry in json.loads(str(done.stdout))] == ["alice"]
            table = str((await here.run("who --user alice")).stdout)
            assert "alice" in table
            assert "1 session\n" in table
            assert (await here.run("show nobody")).exit_status == 1
            assert (await here.run("dance")).exit_status == 2
            assert (await here.run("who --dance")).exit_status == 2
            assert "Usage: who" in str((await here.run("who --help")).stdout)
            done = await here.run("kick --user alice --text 'Come back later.'")
            assert (done.exit_status, str(done.stdout)) == (0, "1 session ended\n")
            assert await alice.line() == "* BYE Come back later.\r\n"
            said = [(each["operator"], each["verb"], each["arguments"], each["ok"]) for each in here.logged("console.command")]
            assert ("ann", "kick", ["--user", "alice", "--text", "Come back later."], True) in said
            assert ("ann", "show", ["nobody"], False) in said

    asyncio.run(tried())


def test_who_may_only_look_cannot_act(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here:
            alice = await here.signs_in("alice")
            assert (await here.run("who", "otto")).exit_status == 0
            for command in ("kick --all", "hold alice", "reload", "drain --yes", "log-level error", "servers --drain main", "trace alice"):
                done = await here.run(command, "otto")
                assert done.exit_status == 77, command
                assert "only look" in str(done.stderr)
            assert (await alice.says("b NOOP"))[-1] == "b OK done\r\n"
            assert here.logged("console.command")[-1] == {
                "operator": "otto", "role": "look", "verb": "trace", "arguments": ["alice"], "ok": False,
                "text": "you may only look ([console] act says who may act)",
            }  # fmt: skip

    asyncio.run(tried())


def test_an_unknown_key_a_password_and_no_key_are_refused(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here:
            with pytest.raises(asyncssh.PermissionDenied):
                await here.run("who", "stranger")
            assert await soon(lambda: here.logged("console.refused"))
            assert here.logged("console.refused")[0]["text"] == "has not signed in; keys tried: 1"
            port = int(here.console.addresses[0].rpartition(":")[2])
            with pytest.raises(asyncssh.PermissionDenied):
                await asyncssh.connect(
                    "127.0.0.1", port, username="ann", password="ann", known_hosts=None, client_keys=None, agent_path=None
                )

    asyncio.run(tried())


def test_who_tries_too_many_keys_is_cut_off(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path, console="tries = 2") as here:
            port = int(here.console.addresses[0].rpartition(":")[2])
            keys = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(3)]
            with pytest.raises((asyncssh.Error, OSError)):
                await asyncssh.connect(
                    "127.0.0.1", port, username="x", client_keys=[*keys, KEYS["ann"]], known_hosts=None, agent_path=None, config=None
                )
            assert await soon(lambda: here.logged("console.refused"))
            assert here.logged("console.refused")[0]["text"] == "has not signed in; keys tried: 2"

    asyncio.run(tried())


def test_a_key_that_is_taken_out_of_the_file_is_refused_at_once(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here:
            assert (await here.run("who", "otto")).exit_status == 0
            (tmp_path / "operators").write_text(public("ann"))
            with pytest.raises(asyncssh.PermissionDenied):
                await here.run("who", "otto")
            # One with options would not get what they restrict: nobody comes in until that is put right.
            (tmp_path / "operators").write_text(f'from="10.0.0.1" {public("ann")}')
            with pytest.raises(asyncssh.PermissionDenied):
                await here.run("who")
            assert "operators:1: is no public key, or has options" in here.logged("console.failed")[0]["text"]

    asyncio.run(tried())


def test_connections_above_the_limit_are_refused(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path, console="connections = 1") as here, here.ssh():
            with pytest.raises((asyncssh.Error, OSError)):
                await here.run("who")
            assert here.logged("console.refused")[0]["text"] == "too many connections"

    asyncio.run(tried())


def test_who_does_not_sign_in_keeps_nobody_out(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path, console="connections = 2") as here, here.ssh():
            port = int(here.console.addresses[0].rpartition(":")[2])
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert (await asyncio.wait_for(reader.readline(), PATIENCE)).startswith(b"SSH-2.0")
            assert (await here.run("who")).exit_status == 0
            assert await soon(lambda: here.logged("console.refused"))
            assert here.logged("console.refused")[0]["text"] == "has not signed in; keys tried: 0"
            writer.close()

    asyncio.run(tried())


def test_a_file_of_keys_that_others_may_write_lets_nobody_in(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here:
            (tmp_path / "operators").chmod(0o660)
            with pytest.raises(asyncssh.PermissionDenied):
                await here.run("who")
            assert here.logged("console.failed")[0]["text"].endswith("operators: others may write it; chmod go-w is needed")
            (tmp_path / "operators").chmod(0o640)
            assert (await here.run("who")).exit_status == 0

    asyncio.run(tried())


def test_who_tries_many_keys_while_the_file_cannot_be_read_is_cut_off_too(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path, console="tries = 2") as here:
            (tmp_path / "operators").chmod(0o660)
            keys = [asyncssh.generate_private_key("ssh-ed25519") for _ in range(5)]
            with pytest.raises((asyncssh.Error, ConnectionError)):
                port = int(here.console.addresses[0].rpartition(":")[2])
                await asyncssh.connect("127.0.0.1", port, username="x", client_keys=keys, known_hosts=None, agent_path=None, config=None)
            assert await soon(lambda: here.logged("console.refused"))
            assert here.logged("console.refused")[0]["text"] == "has not signed in; keys tried: 2"
            assert len(here.logged("console.failed")) == 2

    asyncio.run(tried())


def test_strangers_cannot_fill_the_log(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here:
            said: list[str] = []
            door = Door(LocalControl(here.proxy), lambda: here.proxy.settings.console, lambda event, _: said.append(event))
            for _ in range(1000):
                door.tell("console.refused", "192.0.2.7:1", "has not signed in; keys tried: 0")
            assert 10 <= len(said) < 100  # ten; more where the machine stood still for ten seconds meanwhile
            door.tell("console.failed", "localhost:8022", "operators: is not there")
            assert said[-1] == "console.failed"

    asyncio.run(tried())


def test_a_console_that_could_not_be_opened_is_tried_again_at_a_reload(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here:
            settings = here.proxy.settings.console
            (tmp_path / "operators").chmod(0o660)
            await here.console.adopt(settings.model_copy(update={"host_key": str(tmp_path / "other.key")}))
            assert here.logged("console.failed")[-1]["text"].endswith("others may write it; chmod go-w is needed")
            assert here.console.addresses == [f"unix:{settings.socket}"]
            (tmp_path / "operators").chmod(0o640)
            await here.console.adopt(here.console.settings)
            assert len(here.console.addresses) == 2
            port = int(here.logged("console.opened")[-1]["address"].rpartition(":")[2])
            async with asyncssh.connect("127.0.0.1", port, client_keys=[KEYS["ann"]], known_hosts=None, agent_path=None, config=None):
                assert here.logged("console.connected")[-1]["operator"] == "ann"

    asyncio.run(tried())


def test_a_reload_that_changes_nothing_leaves_the_door_alone(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here:
            before = here.console.addresses
            await here.console.adopt(here.proxy.settings.console.model_copy())
            assert here.console.addresses == before
            assert len(here.logged("console.opened")) == 2
            await here.console.adopt(here.proxy.settings.console.model_copy(update={"sign_in": 7.0}))
            assert len(here.logged("console.opened")) == 3

    asyncio.run(tried())


def test_nothing_but_the_console_is_behind_the_door(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here, here.ssh() as connection:
            with pytest.raises(asyncssh.ChannelOpenError):
                await connection.open_connection("127.0.0.1", 22)
            with pytest.raises(asyncssh.Error):
                await connection.start_sftp_client()
            with pytest.raises(asyncssh.ChannelListenError):
                await connection.forward_remote_port("127.0.0.1", 0, "127.0.0.1", 1)
            done = await asyncio.wait_for(connection.run("/bin/sh -c id"), PATIENCE)
            assert done.exit_status == 2

    asyncio.run(tried())


def test_the_host_key_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    file = tmp_path / "key"
    first = host_key(file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert host_key(file).public_data == first.public_data
    assert [each.name for each in tmp_path.iterdir()] == ["key"]
    file.chmod(0o644)
    with pytest.raises(ControlError, match="others may read it"):
        host_key(file)


async def _talk(here: Place, *typed: str) -> str:
    """What the terminal shows when these are typed at the prompt, one after the other, each once the one before has been answered."""
    async with here.ssh() as connection:
        process = await connection.create_process(term_type="xterm", term_size=(120, 30))
        shown = ""
        for each in typed:
            while not shown.endswith("portico> "):
                more = str(await asyncio.wait_for(process.stdout.read(4096), PATIENCE))
                assert more, f"it ended: {shown!r}"
                shown += more
            process.stdin.write(each)
            shown += "…"
        while more := str(await asyncio.wait_for(process.stdout.read(4096), PATIENCE)):
            shown += more
        return shown


def test_at_the_prompt_there_are_history_and_completion(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here:
            alice = await here.signs_in("alice")
            shown = await _talk(here, "wh\t--us\tal\t\r", "\x1b[A\r", "exit\r")
            assert "you are ann and may act" in shown
            said = [each["arguments"] for each in here.logged("console.command")]
            assert said == [["--user", "alice"], ["--user", "alice"]]
            alice.writer.close()

    asyncio.run(tried())


def test_tab_shows_the_choices_where_several_are_left(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here:
            shown = await _talk(here, "log-level \t\x15\r", "exit\r")
            assert "debug  error  info  warning" in shown

    asyncio.run(tried())


def test_lines_on_standard_input_are_commands(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here, here.ssh() as connection:
            done = await asyncio.wait_for(connection.run(input="holds --json\nwho --json\n"), PATIENCE)
            assert str(done.stdout) == "[]\n[]\n"

    asyncio.run(tried())
