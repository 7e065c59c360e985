"""What the verbs show: traces, top, and nothing that steers a terminal."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path

import asyncssh
import pyte
import pytest
from portico.console.seat import rendered
from portico.console.verb import NAMES, verb_named
from rich.text import Text

from tests.console.places import place
from tests.whole_proxy import PASSWORD, PATIENCE, soon

ROOT = Path(__file__).parents[2]


async def _until(process: asyncssh.SSHClientProcess[str], text: str) -> str:
    shown = ""
    while text not in shown:
        more = str(await asyncio.wait_for(process.stdout.read(4096), PATIENCE))
        assert more, f"it ended: {shown!r}"
        shown += more
    return shown


def test_a_tunnel_is_traced_while_somebody_looks_and_a_plain_tunnel_afterwards(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here, here.ssh() as ssh:
            alice, bob = await here.signs_in("alice"), await here.signs_in("bob")
            process = await ssh.create_process("trace alice --json")
            (running,) = here.proxy.sessions.find(user="alice")
            assert await soon(lambda: running.traced)
            await bob.says("b1 NOOP")
            await alice.says("a1 SELECT INBOX")
            await alice.says(f"a2 login alice {PASSWORD}")
            await alice.says("a3 NOOP")
            shown = await _until(process, "a3 OK")
            lines = [json.loads(line) for line in shown.splitlines() if line]
            assert [(line["direction"], line["text"]) for line in lines] == [
                ("C>", "a1 SELECT INBOX"), ("<C", "a1 OK done"), ("C>", "a2 login <hidden>"), ("<C", "a2 OK done"),
                ("C>", "a3 NOOP"), ("<C", "a3 OK done"),
            ]  # fmt: skip
            process.close()
            assert await soon(lambda: not running.traced)
            assert here.proxy.tracing.taps == []
            await alice.says("a4 NOOP")
            alice.writer.close()
            bob.writer.close()

    asyncio.run(tried())


def test_a_session_that_begins_meanwhile_is_traced_from_its_first_line_without_its_password(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here, here.ssh() as ssh:
            process = await ssh.create_process("trace alice --json")
            assert await soon(lambda: here.proxy.tracing.users == ("alice",))
            alice = await here.signs_in("alice", "0 CAPABILITY")
            await alice.says("a1 NOOP")
            shown = await _until(process, "a1 OK")
            assert "0 CAPABILITY" in shown
            assert "LOGIN" in shown
            assert PASSWORD not in shown
            alice.writer.close()
            await _until(process, "(the session has ended)")
            process.close()
            # It was for the operator's eyes only.
            assert await soon(lambda: not here.proxy.tracing.taps)

    asyncio.run(tried())
    assert list(tmp_path.glob("**/*.trace")) == []  # it was for the operator's eyes only


def test_the_trace_of_one_session_ends_with_it(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here, here.ssh() as ssh:
            alice = await here.signs_in("alice")
            (running,) = here.proxy.sessions.find(user="alice")
            process = await ssh.create_process(f"trace {running.view.id} --json")
            assert await soon(lambda: here.proxy.tracing.taps)
            alice.writer.close()
            done = await asyncio.wait_for(process.wait(), PATIENCE)
            assert done.exit_status == 0
            assert "(the session has ended)" in str(done.stdout)

    asyncio.run(tried())


def test_q_ends_a_trace_at_the_prompt(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here, here.ssh() as ssh:
            process = await ssh.create_process(term_type="xterm", term_size=(100, 30))
            await _until(process, "portico> ")
            process.stdin.write("trace alice\r")
            await _until(process, "q ends it")
            assert await soon(lambda: here.proxy.tracing.taps)
            process.stdin.write("q")
            await _until(process, "portico> ")
            assert here.proxy.tracing.taps == []

    asyncio.run(tried())


def test_what_a_client_says_never_steers_the_terminal(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here, here.ssh() as ssh:
            alice = await here.signs_in("alice", '0 ID ("name" "Evil\x1b]0;owned\x07\x1b[2J" "version" "\x9b31m")')
            process = await ssh.create_process("trace alice")
            assert await soon(lambda: here.proxy.tracing.taps)
            await alice.says("a1 ECHO \x1b[31mred\\x1b[2J\\x9b1m")
            shown = await _until(process, "a1 OK")
            shown += "".join(
                [
                    str((await here.run(command)).stdout)
                    for command in ("who", "who --json", "show " + next(iter(here.proxy.sessions)).view.id)
                ]
            )
            assert "\\x1b[31mred" in shown
            assert re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", shown) == []
            alice.writer.close()

    asyncio.run(tried())


def test_top_is_drawn_in_place_and_follows_the_size_of_the_terminal(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here, here.ssh() as ssh:
            alice = await here.signs_in("alice")
            process = await ssh.create_process("top --every 0.2", term_type="xterm", term_size=(90, 20))
            screen = pyte.Screen(90, 20)
            stream = pyte.Stream(screen)

            async def drawn(*texts: str) -> None:
                while not all(any(text in line for line in screen.display) for text in texts):
                    stream.feed(str(await asyncio.wait_for(process.stdout.read(65536), PATIENCE)))

            await drawn("sessions 1", "1 tunnel", "alice", "main", "logins 0.0/s")
            bob = await here.signs_in("bob")
            await drawn("sessions 2", "bob")
            process.change_terminal_size(60, 8)
            screen.resize(8, 60)
            await drawn("sessions 2")
            process.stdin.write("q")
            assert (await asyncio.wait_for(process.wait(), PATIENCE)).exit_status == 0
            alice.writer.close()
            bob.writer.close()

    asyncio.run(tried())


def test_top_without_a_terminal_is_said_to_need_one_or_drawn_once(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here:
            done = await here.run("top")
            assert (done.exit_status, "needs a terminal" in str(done.stderr)) == (1, True)
            assert "sessions 0" in str((await here.run("top --once --every 0.2")).stdout)

    asyncio.run(tried())


def test_every_verb_answers_and_what_lists_has_json(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here, here.ssh() as ssh:
            for command in ("who", "holds", "servers", "plugins", "settings", "certs", "stats"):
                done = await asyncio.wait_for(ssh.run(command), PATIENCE)
                assert (done.exit_status, str(done.stderr)) == (0, ""), command
                done = await asyncio.wait_for(ssh.run(f"{command} --json"), PATIENCE)
                assert json.loads(str(done.stdout)) is not None, command
            for command, said in (
                ("hold alice --for 10m", "logins of alice wait for 10m00"),
                ("holds", "alice"),
                ("release alice", "logins of alice go on"),
                ("servers --drain main", "drained"),
                ("servers --undrain main", "main"),
                ("log-level warning", "debug -> warning"),
                ("log-level", "warning"),
                ("reload", "new sessions have these settings"),
                ("log-level", "info"),
                ("help", "log-level"),
                ("help who", "Usage: who"),
            ):
                done = await asyncio.wait_for(ssh.run(command), PATIENCE)
                assert (done.exit_status, said in str(done.stdout)) == (0, True), (command, done.stdout, done.stderr)
            for command in ("drain", "drain --yes", "servers --drain nowhere", "release alice"):
                assert (await asyncio.wait_for(ssh.run(command), PATIENCE)).exit_status in (1, 2), command

    asyncio.run(tried())


def test_every_verb_and_option_is_documented() -> None:
    page = (ROOT / "docs" / "reference" / "console.md").read_text("utf-8")
    assert re.findall(r"^### ([a-z-]+)$", page, re.MULTILINE) == list(NAMES)
    for name in NAMES:
        known = verb_named(name)
        assert known is not None
        section = page.partition(f"### {name}\n")[2].partition("\n##")[0]
        assert f"Role: {known.role}" in section, name
        for parameter in known.params:
            for option in parameter.opts if parameter.param_type_name == "option" else ():
                assert f"`{option}" in section, (name, option)


def test_a_command_that_breaks_is_not_logged_as_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def tried() -> None:
        async with place(tmp_path) as here:

            def breaks(*_: object) -> None:
                raise ZeroDivisionError

            monkeypatch.setattr("portico.app.control.LocalControl._do_holds", breaks)
            assert (await here.run("holds")).exit_status == 1
            (command,) = here.logged("console.command")
            assert (command["verb"], command["ok"], command["text"]) == ("holds", False, "it came to no end")
            assert here.logged("proxy.bug")

    asyncio.run(tried())


def test_a_line_that_is_said_stays_one_however_narrow_the_place() -> None:
    line = "S> * CAPABILITY " + "IMAP4rev1 " * 40 + "END"
    assert rendered(Text(line, overflow="fold"), 80, colours=False) == line + "\n"
