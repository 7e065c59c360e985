"""A whole proxy with a plugin in front of a server: the real one, in a thread, on a free port of the loopback address.

Rule of this file: settings are made here, everything else is what `portico run` does.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from portico.app.proxy import Proxy, build
from portico.config.settings import Portico
from portico.config.units import SECONDS
from portico.observe.log import Log
from portico.observe.sink import open_file
from portico.relay.loop import RelayLoop
from portico.session.context import Protocol, TlsMode
from portico.testing.certificates import issue
from portico.testing.client import LOOPBACK, Dialogue, eventually
from portico.testing.server import ScriptedServer

PATIENCE: Final = 60 * SECONDS


@dataclass(slots=True)
class RunningProxy:
    """One proxy with one listener, ``here``."""

    port: int
    tls: TlsMode
    authority: Path | None
    """PEM file of the authority that signed the proxy's certificate; None without TLS."""
    log: Path
    """One JSON line for each event."""

    @property
    def address(self) -> str:
        return f"{LOOPBACK}:{self.port}"

    def client(self) -> Dialogue:
        """A client that has just connected (with implicit TLS: whose handshake is done) and has read nothing yet."""
        return Dialogue(self.port, authority=self.authority, implicit=self.tls == "implicit")

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """The log so far; only the events of that name, if one is given. See docs/reference/log-events.md."""
        whole, _, _ = self.log.read_text("utf-8").rpartition("\n")  # the last line may be half written
        events = [json.loads(line) for line in whole.splitlines()]
        return [event for event in events if not name or event["event"] == name]

    def wait_for(self, name: str, count: int = 1) -> list[dict[str, Any]]:
        """The events of that name, once there are `count`. Raises AssertionError if they do not come."""
        assert eventually(lambda: len(self.events(name)) >= count, PATIENCE), f"{name} did not come: {self.events()}"
        return self.events(name)


@contextmanager
def running_proxy(
    plugin: object | None = None,
    options: Mapping[str, Any] | None = None,
    *,
    server: ScriptedServer | str,
    protocol: Protocol | None = None,
    name: str = "plugin",
    tls: TlsMode = "none",
    listener: Mapping[str, Any] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Iterator[RunningProxy]:
    """A proxy that answers until the end of the `with` block.

    `plugin`: an object, class or module, installed or not; `options` are its options as the settings would have them. `server`: a
    ScriptedServer, or the address of a server without TLS, as ``127.0.0.1:143``, whose `protocol` must then be said. `listener` and
    `settings`: further settings of the listener, and of the whole. Raises what `portico run` would print: SettingsError,
    PluginError, CannotStart.
    """
    address = server if isinstance(server, str) else server.address
    protocol = protocol or ("imap" if isinstance(server, str) else server.protocol)
    with tempfile.TemporaryDirectory(prefix="portico-testing-") as place:
        directory = Path(place)
        # A busy machine is no fault of a plugin.
        patience = dict.fromkeys(("tls", "connect", "greeting", "plugin"), f"{PATIENCE:g}s")
        here: dict[str, Any] = {"protocol": protocol, "addresses": [f"{LOOPBACK}:0"], "server": "main", "tls": tls, "timeouts": patience}
        main: dict[str, Any] = {protocol: address}
        certificates = None
        if tls == "none":
            here["plain_login"] = True
        else:
            certificates = issue(directory)
            here |= {"certificate": str(certificates.certificate), "key": str(certificates.key)}
        if isinstance(server, ScriptedServer) and server.tls != "none":
            assert server.certificates is not None
            main |= {"tls": server.tls, "ca_file": str(server.certificates.authority), "name": "localhost"}
        if plugin is not None:
            here["plugins"] = {name: dict(options or {})}
        table = {"servers": {"main": main}, "listeners": {"here": {**here, **(listener or {})}}, **(settings or {})}
        log = directory / "log"
        thread = _Thread(Portico.model_validate(table), log, {} if plugin is None else {name: plugin})
        port = thread.begin()
        try:
            yield RunningProxy(port, tls, certificates.authority if certificates is not None else None, log)
        finally:
            thread.end()


class _Thread(threading.Thread):
    """Runs a proxy in an event loop of its own."""

    def __init__(self, settings: Portico, log: Path, plugins: Mapping[str, object]) -> None:
        super().__init__(daemon=True, name="portico")
        self._settings = settings
        self._log = log
        self._plugins = plugins
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None
        self._proxy: Proxy | None = None
        self._error: BaseException | None = None

    def begin(self) -> int:
        """Returns the port, once the proxy answers."""
        self.start()
        assert self._ready.wait(PATIENCE), "the proxy does not start"
        if self._error is not None:
            self.join(PATIENCE)
            raise self._error
        assert self._proxy is not None
        return int(self._proxy.addresses["here"][0].rpartition(":")[2])

    def end(self) -> None:
        """Returns when everything is closed."""
        assert self._loop is not None and self._over is not None
        self._loop.call_soon_threadsafe(self._over.set)
        self.join(PATIENCE)
        assert not self.is_alive(), "the proxy does not end"
        if self._error is not None:
            raise self._error

    def run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=RelayLoop) as runner:
                runner.run(self._serve())
        except BaseException as error:
            self._error = error
        finally:
            self._ready.set()

    async def _serve(self) -> None:
        log = Log(open_file(str(self._log)), level="debug", format="json")
        try:
            self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
            proxy = build(self._settings, log=log, plugins=self._plugins)
            await proxy.start()
            self._proxy = proxy
            self._ready.set()
            await self._over.wait()
            await proxy.stop(seconds=1)
        finally:
            log.close()
