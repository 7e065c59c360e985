"""Portico as an operator runs it: `python -m portico run -c FILE`, in front of one server.

Rule of this file: settings in, ports and log out.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from portico.demo.certificates import Certificates
from portico.demo.child import Child
from portico.demo.ports import LOOPBACK, MailPorts, accepts, greets, wait_until

from tests.bench.mailbench import machine

ServerTls = Literal["none", "starttls", "implicit"]
LISTENERS = ("imap", "pop3", "imaps", "pop3s")


@dataclass
class Front:
    """Six listeners (IMAP and POP3; STARTTLS, implicit TLS and, at `clear`, none) in front of the server that has `server` ports."""

    directory: Path
    server: MailPorts
    certificates: Certificates
    tls: ServerTls = "none"
    server_settings: str = ""
    """Further lines of [servers.server]."""
    listener_settings: str = ""
    """Further lines of each [listeners.…] that has TLS; ``{listener}`` in them is its name."""
    pop3_settings: str = ""
    """Further lines of those for POP3."""
    more: str = ""
    """Further tables, as [limits]."""
    protocols: tuple[str, ...] = ("imap", "pop3")
    ports: MailPorts = field(default_factory=MailPorts.free)
    clear: MailPorts = field(default_factory=MailPorts.free)
    """Where one signs in without TLS, on its `imap` and `pop3`."""
    child: Child | None = None

    def __post_init__(self) -> None:
        while set(self.ports) & set(self.clear):  # each was free when it was looked at
            self.clear = MailPorts.free()

    @property
    def settings(self) -> Path:
        return self.directory / "portico.toml"

    @property
    def log(self) -> Path:
        return self.directory / "portico.log"

    def text(self) -> str:
        implicit = self.tls == "implicit"
        text = "[servers.server]\n"
        for protocol in self.protocols:
            port = getattr(self.server, protocol + "s" if implicit else protocol)
            text += f'{protocol} = "{LOOPBACK}:{port}"\n'
        text += f'tls = "{self.tls}"\n'
        if self.tls != "none":
            text += f'ca_file = "{self.certificates.authority}"\nname = "localhost"\n'
        text += self.server_settings
        for name in LISTENERS:
            if name.removesuffix("s") not in self.protocols:
                continue
            text += f"""
[listeners.{name}]
protocol = "{name.removesuffix("s")}"
addresses = ["{LOOPBACK}:{getattr(self.ports, name)}"]
tls = "{"implicit" if name.endswith("s") else "starttls"}"
certificate = "{self.certificates.certificate}"
key = "{self.certificates.key}"
server = "server"
"""
            text += self.pop3_settings if name.startswith("pop3") else ""
            text += self.listener_settings.replace("{listener}", name)
        for protocol in self.protocols:
            text += f"""
[listeners.{protocol}_clear]
protocol = "{protocol}"
addresses = ["{LOOPBACK}:{getattr(self.clear, protocol)}"]
tls = "none"
plain_login = true
server = "server"
"""
        if "[penalties]" not in self.more:
            text += (
                '\n[penalties]\nexempt = ["127.0.0.0/8", "::1", "unix"]\n'  # all clients have one address, and some are wrong on purpose
            )
        return text + "\n" + self.more

    def start(self) -> Front:
        """Returns when all its listeners answer; else its log is printed and `DemoError` raised."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self.settings.write_text(self.text())
        self.child = Child(
            [sys.executable, "-m", "portico", "run", "-c", str(self.settings)], log=self.log, environment=os.environ | {"NO_COLOR": "1"}
        )
        self.child.start()
        try:
            wait_until("Portico", self.answers, seconds=60, alive=lambda: self.child is not None and self.child.running)
        except Exception:
            print(self.settings.read_text(), self.child.last_words(60), sep="\n")
            self.stop()
            raise
        return self

    def answers(self) -> bool:
        plain = all(greets(getattr(ports, protocol)) for protocol in self.protocols for ports in (self.ports, self.clear))
        return plain and all(accepts(getattr(self.ports, protocol + "s")) for protocol in self.protocols)

    def stop(self) -> None:
        if self.child is not None:
            self.child.stop()
            self.child = None

    def events(self, name: str = "") -> list[dict[str, Any]]:
        """The log so far as parsed JSON lines; only those of one event, if named."""
        text = self.log.read_text("utf-8", "replace")
        lines = text[: text.rfind("\n") + 1].splitlines()  # the last one may be half written
        events = [json.loads(line) for line in lines if line.startswith("{")]
        return [event for event in events if not name or event.get("event") == name]

    def memory(self) -> int:
        """Octets of memory that are the proxy's own (proportional set size of the process and its children)."""
        assert self.child is not None
        held = machine.memory([self.child.pid])
        assert held.processes, "it has ended"
        return held.pss * 1024
