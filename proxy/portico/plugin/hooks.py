"""The hooks, in the order of a session's life.

Rule of this file: signatures and promises, no code. docs/reference/hooks.md says the same in prose, and a test holds the two together.
A plugin takes only the arguments it wants, by name. Unknown hook names and unknown arguments are errors at start. "Raising" is raising
anything (SystemExit too), being slower than the listener's `timeouts.plugin`, or returning what is not in the signature.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol

import pluggy

from portico.plugin.commands import ConsoleCommand
from portico.plugin.options import Option
from portico.session.context import LoginAttempt, RouteChoice, SessionView
from portico.session.interests import Interests, Refuse

if TYPE_CHECKING:
    Options = Any

PROJECT: Final = "portico"
hookspec: Final = pluggy.HookspecMarker(PROJECT)
hookimpl: Final = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True, slots=True)
class ProxyInfo:
    """What a plugin is told of the proxy."""

    version: str
    listeners: tuple[str, ...]
    """Those on which the plugin takes part."""


class Summary(Protocol):
    """A session that has ended (relay.ports.Summary has all of this)."""

    reason: Any
    """A word of session.close.Reason."""
    side: str
    seconds: float
    bytes_in: int
    bytes_out: int
    tunnel: bool


class Hooks:
    """All there are."""

    @hookspec
    def settings_declared(self) -> Sequence[Option]:  # type: ignore[empty-body]
        """The plugin's options. Whenever settings are read or checked, before any other hook; a plain function. Raising is a mistake in
        the settings."""

    @hookspec
    def settings_checked(self, listener: str, protocol: str, servers: Sequence[str], options: Options) -> str | None:
        """What is wrong with good options on this listener, in a sentence: an error of the settings. Whenever settings are checked, once
        per listener on which the plugin takes part; a plain function. `protocol`: imap or pop3. `servers`: the names of those that speak
        it. Raising is an error of the settings too."""

    @hookspec
    def proxy_started(self, proxy: ProxyInfo) -> Awaitable[None] | None:
        """The listeners are bound, nobody has been accepted yet. Once per reading of the settings; may be a coroutine. Raising ends the
        start (or refuses the reload); the plugins that have started are told by proxy_stopping."""

    @hookspec
    def console_commands(self) -> Sequence[ConsoleCommand]:  # type: ignore[empty-body]
        """Commands of the plugin's own for the operators' console. When an operator first asks for commands, once per reading of the
        settings and process; a plain function. Raising is logged, and the plugin has none."""

    @hookspec
    def proxy_stopping(self) -> Awaitable[None] | None:
        """No session of this reading of the settings is left, and every session_closed has ended. Once; may be a coroutine. Raising is
        logged."""

    @hookspec
    def client_connected(self, session: SessionView, options: Options) -> Refuse | Awaitable[Refuse | None] | None:
        """A client is there; TLS, where it is implicit, has been agreed on; nothing has been said. Once per connection; may be a coroutine.

        A Refuse is told in place of the greeting. Raising refuses (fails closed).
        """

    @hookspec
    def login_attempted(self, session: SessionView, attempt: LoginAttempt, options: Options) -> Refuse | Awaitable[Refuse | None] | None:
        """Somebody wants to sign in; the server has not been asked. Once per attempt; may be a coroutine.

        A Refuse is told as the answer to the login; with the code AUTHENTICATIONFAILED it counts as a wrong login (delay, then BYE).
        Raising refuses (fails closed).
        """

    @hookspec
    def route_chosen(
        self, session: SessionView, attempt: LoginAttempt, options: Options
    ) -> RouteChoice | Refuse | Awaitable[RouteChoice | Refuse | None] | None:
        """Which server the user's mail is on. Behind login_attempted; the first plugin that answers decides, before the routes of the
        settings; once per attempt; may be a coroutine. Raising refuses (fails closed).
        """

    @hookspec
    def session_opened(self, session: SessionView, options: Options) -> Interests | Awaitable[Interests | None] | None:
        """The client is signed in at the server and has not been told yet. Once per session; may be a coroutine.

        The Interests returned hold for the whole session. Plugins do not wait for each other. Raising counts as None (fails open).
        """

    @hookspec
    def session_closed(self, session: SessionView, summary: Summary, options: Options) -> Awaitable[None] | None:
        """The session is over. Once for each client_connected; may be a coroutine, for which nobody waits. Raising is logged."""


ORDER: Final = (
    "settings_declared", "settings_checked", "proxy_started", "console_commands", "client_connected", "login_attempted", "route_chosen",
    "session_opened", "session_closed", "proxy_stopping",
)  # fmt: skip
"""The names, as they come in a life."""
