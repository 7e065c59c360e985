"""What every plugin must keep, whatever it is for.

Rule of this file: our own transcripts are played through the real session with the plugin and without it, and compared octet for octet. It
knows nothing of what the plugin is for: that is for the plugin's own tests.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from typing import Any, Final

from portico.errors import PluginError, SettingsError
from portico.plugin.loading import Loaded, inspect
from portico.plugin.options import read
from portico.session.context import Protocol, SessionView
from portico.session.events import CLIENT, MAIN
from portico.session.interests import Bound, BoundAnnotator, BoundSizer, BoundTransformer, Compiled
from portico.testing import transcripts
from portico.testing.annotators import check_annotator, shown
from portico.testing.correspondence import Correspondence
from portico.testing.playbook import difference
from portico.testing.sizers import check_sizer
from portico.testing.transcripts import Exchange
from portico.testing.transformers import check_transformer, transformed_by

CUTS: Final = (0, 1, 2, 7, 61)
"""Octets of each piece in which everything arrives; 0: letters arrive whole."""
PASSWORD: Final = "correct-horse-battery-staple"  # noqa: S105
_COMMAND: Final = re.compile(rb"a\d+ ")
_WAITS: Final = re.compile(rb"\{\d+\}\r\n\Z")
_WAITS_NOT: Final = re.compile(rb"\{(\d+)\+?\}\r\n")


@dataclass(frozen=True, slots=True)
class _Said:
    """What became of one exchange."""

    client: bytes
    told: bytes
    asked: bytes
    spoke: bool
    """A handler of the plugin has said something to it."""
    continues: bool
    """The rest of a command that began before: a literal, DONE."""


@dataclass(frozen=True, slots=True)
class _Run:
    """A session from its greeting to its end."""

    greeting: bytes
    login: bytes
    mode: str
    said: list[_Said]
    faults: list[str]


def check_plugin(
    plugin: object,
    options: Mapping[str, Any] | None = None,
    *,
    name: str = "plugin",
    protocols: Sequence[Protocol] = ("imap", "pop3"),
    user: str = "alice",
    client_id: Mapping[str, str] | None = None,
    messages: Sequence[bytes] = (),
    **how: Any,
) -> None:
    """Raises AssertionError, in words that say what to look at, unless

    - the plugin can be loaded: its hooks and their arguments are there, its options have sensible types, defaults and help;
    - `options` are right, and `user` may sign in with them (`client_id`: what the client says by IMAP ID; `how`: further arguments
      of Correspondence, as ``rip``);
    - no hook and no handler raises while our transcripts are played, in IMAP and POP3 (`protocols`), whole and cut into pieces;
    - a session in which the plugin is not interested is a tunnel, and no octet of it is changed;
    - in a session in which it is, no octet is changed of what its handlers say nothing about, and what they say does not depend
      on how the octets arrive (how literals are announced to the server, ``{3}`` or ``{3+}``, is the proxy's own business there);
    - where its handlers raise, no octet is changed;
    - its annotator, asked about messages of ours (portico.testing.samples) and about `messages`, whole ones, raises nothing, whatever
      is in the parts that it reads; names parts that the message has, and text parts for what it inserts; changes nothing that it is told;
      says the same of a message each time and in each session of a user; and keeps nobody waiting;
    - its transformer, asked likewise, raises nothing, and makes whole messages, the same of a message each time and in each session of
      a user;
    - its sizer, asked about messages of every kind, before it has learned anything and after, raises nothing, and says octets, quickly;
    - it writes no password to standard output, standard error or Python's logging.

    `plugin`: an object, class or module, as an entry point names it. To be called outside of an event loop.
    """
    loaded = _loaded(name, plugin)
    _check_options(loaded, options or {})
    for protocol in protocols:
        stage = _Stage(name, plugin, options or {}, protocol, user, client_id, how)
        with _no_password(name):
            stage.check()
            given = {f"message {number} of those given": message for number, message in enumerate(messages, 1)}
            stage.check_annotators(given)
            stage.check_transformers(given)
            stage.check_sizers()


def annotated(
    plugin: object,
    message: bytes,
    options: Mapping[str, Any] | None = None,
    *,
    name: str = "plugin",
    protocol: Protocol = "imap",
    user: str = "alice",
    client_id: Mapping[str, str] | None = None,
    **how: Any,
) -> bytes:
    """A message, whole and with CRLF, as a client gets it from its inbox through the plugin's annotator: with blocks, or as it is.

    Arguments as in `check_plugin`. Raises AssertionError where the annotator raises or says what cannot be. To be called outside of an
    event loop.
    """
    stage = _Stage(name, plugin, options or {}, protocol, user, client_id, how)
    found = stage.annotators("one", 4711)
    return shown(found[0][0], [bound for _, bound in found], message) if found else message


def transformed(
    plugin: object,
    message: bytes,
    options: Mapping[str, Any] | None = None,
    *,
    name: str = "plugin",
    protocol: Protocol = "imap",
    user: str = "alice",
    client_id: Mapping[str, str] | None = None,
    **how: Any,
) -> bytes:
    """A message, whole and with CRLF, as a client gets it from its inbox through the plugin's transformer: another one, or as it is.

    Arguments as in `check_plugin`. Raises AssertionError where the transformer raises or says what cannot be. To be called outside of an
    event loop.
    """
    stage = _Stage(name, plugin, options or {}, protocol, user, client_id, how)
    found = stage.transformers("one", 4711)
    return transformed_by(found[0][0], [bound for _, bound in found], message) if found else message


@dataclass(frozen=True, slots=True)
class _Stage:
    """The checks that are made for each protocol."""

    name: str
    plugin: object
    options: Mapping[str, Any]
    protocol: Protocol
    user: str
    client_id: Mapping[str, str] | None
    how: Mapping[str, Any]

    def check(self) -> None:
        # Several commands at once are said one by one to a plugin that may refuse the one before.
        first = self._run(self.plugin, 0, _noting)
        together = first.mode == "tunnel"
        alone = self._run(None, 0, _noting, together=together)
        whole = self._run(self.plugin, 0, _noting, together=together)
        for cut in CUTS:
            run = self._run(self.plugin, cut, _noting, together=together) if cut else whole
            where = f"{self.name}: {self.protocol.upper()}, {f'in pieces of {cut}' if cut else 'whole'}"
            assert not run.faults, f"{where}: {'; '.join(dict.fromkeys(run.faults))}"
            wrong = difference("to C", alone.greeting, run.greeting)
            assert not wrong, f"{where}: the greeting is another one (client_connected refuses?){wrong}"
            wrong = difference("to C", alone.login, run.login)
            assert not wrong, f"{where}: {self.user} cannot sign in as without the plugin; give options and a user that may{wrong}"
            assert run.mode == whole.mode, f"{where}: {run.mode}, but {whole.mode} when octets arrive whole"
            self._compare(where, alone, run, whole)
        if not together:
            raised = self._run(self.plugin, 0, _raising, together=False)
            self._compare(f"{self.name}: {self.protocol.upper()}, every handler raises", alone, raised, None)

    def check_annotators(self, messages: Mapping[str, bytes]) -> None:
        """In two sessions of one user that differ in all else."""
        made = [self.annotators(sid, rport) for sid, rport in (("one", 4711), ("two", 4712))]
        for row in zip(*made, strict=True):
            check_annotator(f"{self.name}: {self.protocol.upper()}, annotator", row, messages)

    def check_transformers(self, messages: Mapping[str, bytes]) -> None:
        """Likewise."""
        made = [self.transformers(sid, rport) for sid, rport in (("one", 4711), ("two", 4712))]
        for row in zip(*made, strict=True):
            check_transformer(f"{self.name}: {self.protocol.upper()}, transformer", row, messages)

    def check_sizers(self) -> None:
        """Likewise."""
        made = [self.sizers(sid, rport) for sid, rport in (("one", 4711), ("two", 4712))]
        for row in zip(*made, strict=True):
            check_sizer(f"{self.name}: {self.protocol.upper()}, sizer", row)

    def annotators(self, sid: str, rport: int) -> list[tuple[SessionView, BoundAnnotator]]:
        view, brought = self._brought(sid, rport)
        return [(view, bound) for compiled in brought for bound in compiled.annotators]

    def transformers(self, sid: str, rport: int) -> list[tuple[SessionView, BoundTransformer]]:
        view, brought = self._brought(sid, rport)
        return [(view, bound) for compiled in brought for bound in compiled.transformers]

    def sizers(self, sid: str, rport: int) -> list[tuple[SessionView, BoundSizer]]:
        view, brought = self._brought(sid, rport)
        return [(view, bound) for compiled in brought for bound in compiled.sizers]

    def _brought(self, sid: str, rport: int) -> tuple[SessionView, list[Compiled]]:
        """What the plugin sees of a session, and what it brings to it."""
        found: list[Compiled] = []

        def seen(compiled: Compiled, spoke: list[bool]) -> Compiled:
            found.append(compiled)
            return compiled

        with self._session(self.plugin, seen, []) as session:
            session.sign_in(self.user, PASSWORD, client_id=self.client_id if self.protocol == "imap" else None)
            view = replace(session.view, id=sid, peer=replace(session.view.peer, rport=rport), data={})
        return view, found

    @staticmethod
    def _compare(where: str, alone: _Run, run: _Run, whole: _Run | None) -> None:
        """`whole`: the same with the plugin and uncut; None: nothing that the plugin says may count."""
        for index, said in enumerate(run.said):
            if said.spoke and whole is not None:
                before = whole.said[index]
                wrong = difference("to C", before.told, said.told) + difference("to S", before.asked, said.asked)
                assert not wrong, f"{where}: what is said to {said.client[:60]!r} depends on how the octets arrive{wrong}"
                continue
            before = alone.said[index]
            if whole is not None and _follows_what_was_said(run.said, index):
                continue
            wrong = difference("to C", before.told, said.told) + difference("to S", before.asked, said.asked)
            assert not wrong, f"{where}: nothing was said to {said.client[:60]!r}, and it was changed{wrong}"
        assert len(run.said) == len(alone.said), f"{where}: the session ended after {run.said[-1].client[:60]!r}"

    def _run(self, plugin: object | None, cut: int, wrap: _Wrap, *, together: bool = True) -> _Run:
        imap = self.protocol == "imap"
        spoke: list[bool] = []
        with self._session(plugin, wrap, spoke) as session:
            login = session.sign_in(self.user, PASSWORD, client_id=self.client_id if imap else None)
            mode = session.mode
            said = []
            if mode in ("tunnel", "watch"):
                exchanges = transcripts.IMAP if imap else transcripts.POP3
                said = list(_played(session, exchanges if together else _one_by_one(exchanges), cut, spoke, imap))
        return _Run(session.greeting, login, mode, said, session.faults)

    def _session(self, plugin: object | None, wrap: _Wrap, spoke: list[bool]) -> Correspondence:
        capabilities = transcripts.IMAP_CAPABILITIES if self.protocol == "imap" else transcripts.POP3_CAPABILITIES
        how = {"capabilities": capabilities, **self.how}
        options = self.options if plugin is not None else None
        try:
            return Correspondence(
                plugin, options, protocol=self.protocol, name=self.name, wrap=lambda compiled: wrap(compiled, spoke), **how
            )
        except (PluginError, SettingsError) as error:
            raise AssertionError(str(error)) from error


def _loaded(name: str, plugin: object) -> Loaded:
    try:
        return inspect(name, plugin)
    except PluginError as error:
        raise AssertionError(str(error)) from error


def _check_options(loaded: Loaded, options: Mapping[str, Any]) -> None:
    _, problems = read(loaded.model, options)
    assert not problems, f"{loaded.name}: " + "; ".join(f"option {key}: {text}" for key, text in problems)
    for option in loaded.options:
        if option.required or option.default is None:
            continue
        _, problems = read(loaded.model, {**options, option.name: option.default})
        wrong = [text for key, text in problems if key == option.name]
        assert not wrong, f"{loaded.name}: the default of option {option.name}, {option.default!r}, is not of its type: {wrong[0]}"


# -- playing


def _played(session: Correspondence, exchanges: Sequence[Exchange], cut: int, spoke: list[bool], imap: bool) -> Iterator[_Said]:
    """Play each exchange; the server answers what has reached it."""
    reached = True
    for client, answers in exchanges:
        spoke.clear()
        continues = imap and bool(client) and not _COMMAND.match(client)
        told = asked = b""
        if session.end is None and client and (reached or not continues):
            told, asked = session.pieces(CLIENT, client, cut)
            reached = bool(asked)
        while session.end is None and _WAITS.search(asked) and not _WAITS.search(client):
            # The client has sent its literal at once; the proxy waits for the server to ask for it.
            more, answered = session.pieces(MAIN, b"+ go on\r\n", cut)
            told, asked = told + more, asked + answered
            if not answered:
                break
        asked = _WAITS_NOT.sub(rb"{\1+}\r\n", asked) if not _WAITS.search(client) else asked
        if session.end is None and (asked or not client):
            for answer in (answers,) if isinstance(answers, bytes) else answers:
                more, answered = session.pieces(MAIN, answer, cut)
                told, asked = told + more, asked + answered
        yield _Said(client, told, asked, bool(spoke), continues)


def _one_by_one(exchanges: Sequence[Exchange]) -> list[Exchange]:
    """The same without commands that are said before the one before them has been answered."""
    single: list[Exchange] = []
    for client, answers in exchanges:
        if isinstance(answers, bytes):
            single.append((client, answers))
        else:
            single += zip(client.splitlines(keepends=True), answers, strict=True)
    return single


def _follows_what_was_said(said: Sequence[_Said], index: int) -> bool:
    """Whether this is the rest of a command to which a handler has said something."""
    if not said[index].continues:
        return False
    before = next(earlier for earlier in reversed(said[:index]) if earlier.client and not earlier.continues)
    return before.spoke


# -- handlers, looked at from outside

_Wrap = Callable[[Compiled, list[bool]], Compiled | None]


def _noting(compiled: Compiled, spoke: list[bool]) -> Compiled | None:
    """As it is; `spoke` gets an item whenever a handler says something."""

    def noting(bound: Bound) -> Bound:
        def handler(view: Any, thing: Any) -> Any:
            said = bound.handler(view, thing)
            if said is not None:
                spoke.append(True)
            return said

        return Bound(bound.plugin, handler)

    return _with(compiled, noting)


def _raising(compiled: Compiled, spoke: list[bool]) -> Compiled | None:
    """Every handler does what it does, and raises when it would say something."""

    def raising(bound: Bound) -> Bound:
        def handler(view: Any, thing: Any) -> Any:
            bound.handler(view, thing)
            raise RuntimeError("raised by check_plugin")

        return Bound(bound.plugin, handler)

    return _with(compiled, raising)


def _with(compiled: Compiled, change: Callable[[Bound], Bound]) -> Compiled | None:
    """With other handlers, without annotators, transformers and sizers: what those say is looked at by itself. None: nothing is left."""

    def changed(rows: dict[str, tuple[Bound, ...]]) -> dict[str, tuple[Bound, ...]]:
        return {name: tuple(change(bound) for bound in row) for name, row in rows.items()}

    made = replace(
        compiled,
        commands=changed(compiled.commands),
        responses=changed(compiled.responses),
        fetch_items=changed(compiled.fetch_items),
        annotators=(),
        transformers=(),
        sizers=(),
    )
    return made if made.plugins else None


@contextmanager
def _no_password(name: str) -> Iterator[None]:
    """Raises AssertionError if the password is written anywhere meanwhile."""
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        with ExitStack() as stack:
            stack.enter_context(redirect_stdout(written))
            stack.enter_context(redirect_stderr(written))
            yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
    assert PASSWORD not in written.getvalue(), f"{name}: the user's password was written to standard output, standard error or logging"
