"""What a handler may answer, and that its answers are whole before they are said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from portico.plugin import Answer, Change, Drop, Interests, Refuse, hookimpl
from portico.session.context import Protocol
from portico.testing import Correspondence

SELECTED = """
C: a1 FETCH 1 (FLAGS)
S: * 1 FETCH (FLAGS (\\\\Seen))
S: a1 OK done
"""


def interested(**interests: Any) -> type:
    class Plugin:
        portico_interests = ("command *", "response *", "fetch item *")

        @hookimpl
        def session_opened(self) -> Interests:
            return Interests(**interests)

    return Plugin


def says(answer: Any) -> Callable[..., Any]:
    return lambda session, thing: answer


def played(plugin: type, playbook: str, protocol: Protocol = "imap") -> list[str]:
    """Plays it; the faults."""
    with Correspondence(plugin, protocol=protocol) as session:
        session.sign_in()
        session.play(playbook)
        return session.faults


@pytest.mark.parametrize(
    "value", [b"(\\Seen)\r\n* BYE", b"{5}\r\nabc", b'"open', b"1 UID 7", b"(1", b"", b"x)\r\na1 OK done\r\n* 2 FETCH (UID 1"]
)
def test_a_value_of_a_fetch_item_that_would_break_the_response_is_not_taken(value: bytes) -> None:
    faults = played(interested(fetch_items={"FLAGS": says(value)}), SELECTED)
    assert faults == ["fetch item FLAGS: what is returned is not one value"]


def test_a_value_may_be_a_literal() -> None:
    playbook = """
    C: a1 FETCH 1 (FLAGS)
    S: * 1 FETCH (FLAGS (\\\\Seen))
    to C: * 1 FETCH (FLAGS {3}
    to C: a
    to C: )
    S: a1 OK done
    """
    assert played(interested(fetch_items={"FLAGS": says(b"{3}\r\na\r\n")}), playbook) == []


def test_the_end_of_a_command_cannot_be_dropped() -> None:
    playbook = """
    C: a1 NOOP
    S: a1 OK done
    """
    assert played(interested(responses={"TAGGED": says(Drop())}), playbook) == ["response TAGGED: the end of a command cannot be dropped"]


def test_lines_of_an_answer_are_one_response_each() -> None:
    playbook = """
    C: a1 NOOP
    S: a1 OK done
    """
    faults = played(interested(commands={"NOOP": says(Answer("x", [b"A\r\na1 OK x\r\n* B"]))}), playbook)
    assert faults == ["command NOOP: a line of an answer holds a line end, or a literal of another length"]


def test_each_plugin_sees_what_the_one_before_it_made_and_the_first_refusal_ends_it() -> None:
    seen: list[bytes] = []

    def note(session: Any, command: Any) -> None:
        seen.append(command.arguments)

    class Two:
        portico_interests = ("command SEARCH",)

        @hookimpl
        def session_opened(self) -> Interests:
            return Interests(commands={"search": says(Change(b"UNSEEN")), "SEARCH": note})

    assert played(Two, "C: a1 SEARCH ALL\nto S: a1 SEARCH UNSEEN\n\nS: a1 OK done") == []
    assert seen == [b"UNSEEN"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: Change("text"),  # type: ignore[arg-type]
        lambda: Refuse(5),  # type: ignore[arg-type]
        lambda: Refuse("x", None),  # type: ignore[arg-type]
        lambda: Answer(b"x"),  # type: ignore[arg-type]
        lambda: Answer("x", "lines"),  # type: ignore[arg-type]
        lambda: Answer("x", ["line"]),  # type: ignore[list-item]
        lambda: Answer("x", 5),  # type: ignore[arg-type]
    ],
)
def test_an_answer_of_the_wrong_type_raises_where_it_is_made(make: Callable[[], Any]) -> None:
    with pytest.raises(TypeError, match="is expected, not"):
        make()
