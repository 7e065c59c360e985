"""What the app asks of plugins, and the answer where there are none.

Rule of this file: a protocol (plugin.host.Host keeps it) and its empty form; no logic.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from types import MappingProxyType
from typing import Protocol

from portico.gate.gate import Verdict
from portico.relay.ports import Summary
from portico.session.context import LoginAttempt, Refusal, RouteChoice, SessionView
from portico.session.interests import Compiled


class Plugins(Protocol):
    """The plugins of one reading of the settings. Nothing here raises but `started`; see gate.gate.Plugins for the login."""

    @property
    def loaded(self) -> Mapping[str, str]:
        """Names and versions, in the order in which they are called."""
        ...

    @property
    def active(self) -> bool:
        """There is at least one."""
        ...

    def chooses_routes(self, listener: str) -> bool:
        """Some plugin of this listener may choose the server."""
        ...

    async def started(self) -> None:
        """Raises PluginError: then the proxy does not start."""

    async def stopping(self) -> None: ...

    def client_connected(self, view: SessionView) -> Refusal | Awaitable[Refusal | None] | None: ...

    def attempted(self, view: SessionView, attempt: LoginAttempt) -> Refusal | Awaitable[Refusal | None] | None: ...

    def routed(
        self, view: SessionView, attempt: LoginAttempt
    ) -> RouteChoice | Verdict | Awaitable[RouteChoice | Verdict | None] | None: ...

    def session_opened(self, view: SessionView) -> Compiled | Awaitable[Compiled | None] | None: ...

    def session_closed(self, view: SessionView, summary: Summary) -> None: ...


class NoPlugins:
    """Nobody takes part."""

    loaded: Mapping[str, str] = MappingProxyType({})
    active = False

    def chooses_routes(self, listener: str) -> bool:
        return False

    async def started(self) -> None:
        pass

    async def stopping(self) -> None:
        pass

    def client_connected(self, view: SessionView) -> None:
        return None

    def attempted(self, view: SessionView, attempt: LoginAttempt) -> None:
        return None

    def routed(self, view: SessionView, attempt: LoginAttempt) -> None:
        return None

    def session_opened(self, view: SessionView) -> None:
        return None

    def session_closed(self, view: SessionView, summary: Summary) -> None:
        return None
