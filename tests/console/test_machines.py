"""What other machines say at the console: shown with their names, doubted, and never obeyed by a terminal."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from portico.app.control import LocalControl
from portico.console.seat import Seat
from portico.console.verb import DENIED, FAILED, OK, obey

from tests.console.places import place

ENTRY = {
    "id": "s1", "worker": 1, "protocol": "imap", "listener": "imaps", "user": "alice", "rip": "192.0.2.1", "rport": 5, "server": "main",
    "state": "tunnel", "seconds": 65.0, "idle": 1.0, "bytes_in": 1, "bytes_out": 2, "client": "Mutt", "tls": "TLSv1.3",
}  # fmt: skip


class Others:
    """See console.control.Machines."""

    def __init__(self, *said: dict[str, Any]) -> None:
        self.said = [{"machine": "", "answer": None, "error": "", "left_out": 0, **each} for each in said]
        self.asked: list[tuple[str, dict[str, Any], str]] = []

    async def ask(self, verb: str, arguments: Mapping[str, Any], operator: str) -> list[dict[str, Any]]:
        self.asked.append((verb, dict(arguments), operator))
        return self.said


class Paper:
    """See console.seat.Terminal."""

    colours = interactive = False
    columns, rows = 200, 24

    def __init__(self) -> None:
        self.out, self.err = "", ""

    def write(self, text: str, *, err: bool = False) -> None:
        if err:
            self.err += text
        else:
            self.out += text


def said(path: Path, words: str, others: Others | None, role: Any = "act") -> tuple[int, str, str]:
    """The exit code, standard output and standard error."""

    async def tried() -> tuple[int, str, str]:
        async with place(path) as here:
            control, paper = LocalControl(here.proxy), Paper()
            control.machines = others
            seat = Seat("ann", role, "here", control, paper)  # type: ignore[arg-type]
            return await obey(seat, words, lambda *_: None), paper.out, paper.err

    return asyncio.run(tried())


def test_the_sessions_of_all_machines_are_one_list(tmp_path: Path) -> None:
    others = Others({"machine": "one", "answer": [ENTRY]}, {"machine": "two", "answer": [ENTRY | {"id": "s2", "user": "bob"}]})
    code, out, err = said(tmp_path, "who --machines --idle 1s --json", others)
    assert (code, err) == (OK, "")
    assert json.loads(out) == [{"machine": "one", **ENTRY}, {"machine": "two", **ENTRY, "id": "s2", "user": "bob"}]
    assert others.asked == [("who", {"idle": 1.0}, "ann")]
    code, out, err = said(tmp_path, "who --machines", others)
    assert re.search(r"^two +s2 +bob +192", out, re.MULTILINE)
    assert "2 sessions" in out


def test_who_does_not_answer_is_named_and_the_rest_is_shown(tmp_path: Path) -> None:
    others = Others(
        {"machine": "one", "answer": [ENTRY], "left_out": 7}, {"machine": "two", "error": "it does not answer"}, {"error": "Redis is away"}
    )
    code, out, err = said(tmp_path, "who --machines --json", others)
    assert (code, [entry["machine"] for entry in json.loads(out)]) == (FAILED, ["one"])
    assert err.splitlines() == ["two: it does not answer", "Redis is away", "one: 7 more are not shown"]


def test_what_a_machine_says_is_doubted_and_cannot_steer_the_terminal(tmp_path: Path) -> None:
    odd = [{"id": "\x1b[2J", "user": 7, "seconds": "long", "new": 1}, "nothing", None]
    others = Others({"machine": "one\x1b]0;x\x07", "answer": odd}, {"machine": "two", "answer": {"who": "knows"}}, {"error": "\x9b31m"})
    for words in ("who --machines", "show s1 --machines", "kick --user alice --machines"):
        _, out, err = said(tmp_path, words, others)
        assert re.findall(r"[\x00-\x09\x0b-\x1f\x7f-\x9f]", out + err) == [], words
    code, out, _ = said(tmp_path, "who --machines --json", others)
    assert (code, [entry["user"] for entry in json.loads(out)]) == (FAILED, ["", "", ""])


def test_a_session_is_shown_and_ended_wherever_it_is(tmp_path: Path) -> None:
    there = Others({"machine": "one"}, {"machine": "two", "answer": ENTRY})
    assert json.loads(said(tmp_path, "show s1 --machines --json", there)[1]) == {"machine": "two", **ENTRY}
    ended = Others({"machine": "one", "answer": []}, {"machine": "two", "answer": ["s1"]})
    assert said(tmp_path, "kick s1 --machines --text Enough", ended)[:2] == (OK, "1 session ended\n")
    assert ended.asked == [("kick", {"id": "s1", "text": "Enough"}, "ann")]
    gone = Others({"machine": "one", "answer": []}, {"machine": "two", "answer": []})
    assert said(tmp_path, "kick s1 --machines", gone) == (FAILED, "", "there is no session s1\n")
    assert said(tmp_path, "show s1 --machines", Others({"machine": "one"})) == (FAILED, "", "there is no session s1\n")
    silent = Others({"machine": "one", "answer": []}, {"machine": "two", "error": "it does not answer"})
    for words in ("kick s1 --machines", "show s1 --machines"):
        assert said(tmp_path, words, silent)[::2] == (FAILED, "two: it does not answer\n")


def test_who_may_only_look_ends_nothing_anywhere(tmp_path: Path) -> None:
    others = Others({"machine": "one", "answer": []})
    assert said(tmp_path, "kick --user alice --machines", others, "look")[0] == DENIED
    assert others.asked == []


def test_a_machine_that_shares_nothing_says_so(tmp_path: Path) -> None:
    code, out, err = said(tmp_path, "who --machines", None)
    assert (code, out) == (FAILED, "")
    assert "[shared] redis" in err
