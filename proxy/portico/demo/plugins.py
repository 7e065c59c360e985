"""What the demo shows of the plugins that come with Portico: a second Dovecot with public folders, and two listeners.

Rule of this file: the other listeners, and a Portico without these plugins, do not notice that it is here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points

from portico.demo.mailbox import PUBLIC
from portico.demo.ports import LOOPBACK
from portico.plugin.loading import GROUP

NAMES = ("meeting_links", "public_folders")
OFFSET = 2000
"""Ports with plugins are this much above those without."""
HOST = "webmail.example.org"
"""Where links lead to: there is no webmail in the demo."""
ABOUT = """
  Plugins put public folders, which a second Dovecot keeps, into everybody's folder
          list, and into meeting requests a link to a web page to answer on.
"""
REQUEST = 9
"""The number of a meeting request in alice's inbox."""
NOTICE = "       is a meeting request with its link; on ports without plugins it has none\n"
NO_PUBLIC_FOLDERS = "namespace public {\n  disabled = yes\n}\n"
"""Further configuration of the personal Dovecot, in the words of both versions: what public folders there are come from the other one."""


@dataclass(slots=True, frozen=True)
class PluginPorts:
    """Where IMAP and POP3 answer with plugins, TLS from the start."""

    imaps: int
    pop3s: int

    @classmethod
    def standard_plus(cls, base: int) -> PluginPorts:
        """Of the demo at `base`: 10000 gives 12993 and 12995."""
        return cls(base + OFFSET + 993, base + OFFSET + 995)

    def __iter__(self) -> Iterator[int]:
        return iter((self.imaps, self.pop3s))


def installed() -> bool:
    """True if the plugins are in this Python environment."""
    return {entry.name for entry in entry_points(group=GROUP)}.issuperset(NAMES)


def server_text(port: int, tls: str) -> str:
    """The server that holds the public folders, for portico.toml. `tls` is what all servers of the demo share."""
    return f"""
[servers.public]
imap = "{LOOPBACK}:{port}"
{tls}"""


def options_text(listener: str, protocol: str) -> str:
    """The plugins' options on a listener, for portico.toml."""
    if protocol == "pop3":
        # POP3 tells neither folder nor UID, so the webmail has to find the message by its id.
        return f"""
[listeners.{listener}.plugins.meeting_links]
webmail = "custom"
template = "https://{HOST}/search?id={{message_id}}"
"""
    return f"""
[listeners.{listener}.plugins.meeting_links]
webmail = "roundcube"
host = "{HOST}"

[listeners.{listener}.plugins.public_folders]
store = "public"
root = "{PUBLIC}"
"""
