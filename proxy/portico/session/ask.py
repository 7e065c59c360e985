"""Asking a plugin's handler, so that its faults stay its own.

Rule of this file: what both watches need to ask, and to say what was answered.
"""

from __future__ import annotations

from typing import Any

from portico.session.context import SessionView
from portico.session.decisions import Decision, Record
from portico.session.interests import Bound


def ask(bound: Bound, view: SessionView, hook: str, thing: Any, allowed: tuple[type, ...], out: list[Decision]) -> Any:
    """What the handler says about `thing`; None, and a record, if it raises or says what it may not (the original goes on)."""
    try:
        said = bound.handler(view, thing)
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # a plugin's fault never ends a session, or the proxy: SystemExit is one, too
        blame(bound, hook, raised(error), out)
        return None
    if said is not None and not isinstance(said, allowed):
        blame(bound, hook, f"{type(said).__name__} returned", out)
        return None
    return said


def blame(bound: Bound, hook: str, error: str, out: list[Decision]) -> None:
    """Record that a plugin broke its contract."""
    out.append(Record("plugin.failed", {"plugin": bound.plugin, "hook": hook, "error": error}))


def raised(error: BaseException) -> str:
    """What a plugin raised, and where, for the log. Not the error's own words: they may hold anything that the plugin has seen."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return f"{type(error).__name__} raised"
    code = trace.tb_frame.f_code
    return f"{type(error).__name__} raised in {code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}"


def one_line(text: str) -> bytes:
    """The words of a plugin or an operator as they are said to a client: on one line, whatever they hold."""
    return " ".join(text.splitlines()).encode("utf-8", "replace")
