"""Commands that plugins add to the console."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

from portico.plugin import ConsoleCommand, hookimpl

from tests.console.places import place
from tests.whole_proxy import soon


class Greeter:
    """Counts those who come."""

    def __init__(self) -> None:
        self.greeted = 0

    @hookimpl
    def client_connected(self) -> None:
        self.greeted += 1

    @hookimpl
    def console_commands(self) -> list[Any]:
        return [
            ConsoleCommand("greeted", "Say how many clients came.", lambda words: {"greeted": self.greeted, "words": words}),
            ConsoleCommand("forget", "Begin anew.", self._forget, role="act"),
            ConsoleCommand("break", "Fail.", lambda words: 1 // 0),
            ConsoleCommand("odd", "Answer what is no JSON.", lambda words: object()),
            ConsoleCommand("who", "Never be called.", lambda words: "not this one"),
            ConsoleCommand("No Name", "Never be listed.", lambda words: ""),
            "no command",
        ]

    async def _forget(self, words: list[str]) -> str:
        self.greeted = 0
        return "forgotten\x1b[2J"


def test_a_plugin_adds_commands_with_roles(tmp_path: Path) -> None:
    async def tried() -> None:
        async with place(tmp_path, more="[plugins.greeter]", plugins={"greeter": Greeter}) as here:
            alice = await here.signs_in("alice")
            assert json.loads(str((await here.run("greeted a 'b c'", "otto")).stdout)) == {"greeted": 1, "words": ["a", "b c"]}
            assert (await here.run("forget", "otto")).exit_status == 77
            assert str((await here.run("forget")).stdout) == "forgotten\\x1b[2J\n"
            assert '"greeted": 0' in str((await here.run("greeted")).stdout)
            listed = str((await here.run("help")).stdout)
            assert "Say how many clients came. (plugin greeter)" in listed
            assert "Never" not in listed
            assert "alice" in str((await here.run("who")).stdout)
            for command, said in (("break", "break failed"), ("odd", "cannot be shown")):
                done = await here.run(command)
                assert (done.exit_status, said in str(done.stderr)) == (1, True)
            # The words may be secret: only that the command was given is logged.
            assert [each["arguments"] for each in here.logged("console.command") if each["verb"] == "greeted"] == [[], []]
            log = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
            failed = [line["error"] for line in log if line["event"] == "plugin.failed"]
            assert sum("name that is none" in error or "is no ConsoleCommand" in error for error in failed) == 2
            assert any("ZeroDivisionError" in error for error in failed)
            alice.writer.close()

    asyncio.run(tried())


def test_the_plugin_of_the_page_does_what_the_page_says(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "how-to" / "use-the-console.md").read_text("utf-8")
    (source,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    made: dict[str, Any] = {}
    exec(compile(source, "use-the-console.md", "exec"), made)

    async def tried() -> None:
        async with place(tmp_path, more="[plugins.programs]", plugins={"programs": made["Programs"]}) as here:
            for said in ('0 ID ("name" "Thunderbird")', "0 NOOP"):
                client = await here.signs_in("alice", said)
                client.writer.close()
            assert await soon(lambda: not len(here.proxy.sessions))
            assert json.loads(str((await here.run("programs", "otto")).stdout)) == {"Thunderbird": 1, "(says nothing)": 1}

    asyncio.run(tried())
