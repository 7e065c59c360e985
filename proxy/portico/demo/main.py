"""`portico demo`: a private Dovecot, a mailbox, and Portico in front of it, until Ctrl-C.

Where the plugins that come with Portico are installed, also what they are for: demo/plugins.py.

Rule of this file: the order of things and the one screen; how each is done is in the files beside it.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

from portico import __version__
from portico.demo import certificates, dovecot, mailbox, plugins
from portico.demo.certificates import Certificates
from portico.demo.child import Child, DemoError
from portico.demo.plugins import PluginPorts
from portico.demo.ports import LOOPBACK, MailPorts, accepts, greets, is_free, wait_until, wait_while
from portico.demo.workplace import sweep, workplace

DEFAULT_BASE = 10000
DOVECOT_OFFSET = 1000
"""Dovecot's ports are this much above Portico's."""
PORTS_RANGE = range(1024, 62000)
POLL_SECONDS = 0.5


def run(ports: str | int | None = None, *, directory: Path | None = None, out: TextIO | None = None) -> int:
    """Run the demo until SIGINT or SIGTERM; returns the exit code (0: ended by the user, 1: could not go on).

    `ports` is the number added to the well-known ones: 10000 gives 10993 for IMAP with TLS. Below `directory`
    (default: the system's place for temporary files) a directory is made, and taken away at the end.
    """
    screen = out or sys.stdout
    stop = threading.Event()
    previous = {number: signal.signal(number, lambda *_: stop.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        return _run(parse_base(ports), directory, screen, stop)
    except DemoError as error:
        print(f"portico demo: {error}", file=sys.stderr)
        return 1
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def parse_base(ports: str | int | None) -> int:
    """The number added to well-known ports. Raises `DemoError` for what is none."""
    text = str(DEFAULT_BASE if ports in (None, "") else ports)
    if not text.isascii() or not text.isdigit() or int(text) not in PORTS_RANGE:
        last = PORTS_RANGE.stop - 1
        raise DemoError(f"PORTS={text} is not a number from {PORTS_RANGE.start} to {last}; 20000 gives 20993 for IMAP with TLS, and so on")
    return int(text)


def taken(base: int) -> list[int]:
    """The ports of the demo at `base` that somebody else has."""
    wanted = [*MailPorts.standard_plus(base), *MailPorts.standard_plus(base + DOVECOT_OFFSET), *PluginPorts.standard_plus(base)]
    return [port for port in wanted if not is_free(port)]


def _run(base: int, directory: Path | None, screen: TextIO, stop: threading.Event) -> int:
    if packages := dovecot.missing():
        command = "apt-get install " + " ".join(packages)
        raise DemoError(f"Dovecot is not installed. `make run` installs it from the distribution; or do it yourself: {command}")
    if sweep(directory or Path(tempfile.gettempdir())):
        # A run was killed; its servers may need a second to end.
        wait_while(lambda: bool(taken(base)), seconds=5)
    if busy := taken(base):
        raise DemoError(_taken_text(busy, base))
    with ExitStack() as stack:
        place = stack.enter_context(workplace(directory))
        certificate = certificates.issue(place)
        ports = MailPorts.standard_plus(base)
        plugged = PluginPorts.standard_plus(base) if plugins.installed() else None
        server = _dovecot(place / "dovecot", certificate, MailPorts.standard_plus(base + DOVECOT_OFFSET), own=plugged is not None)
        servers = [stack.enter_context(server)]
        if plugged is None:
            mailbox.fill_all(LOOPBACK, server.ports.imap)
        else:
            public = _dovecot(place / "public", certificate, MailPorts.free())
            servers.append(stack.enter_context(public))
            mailbox.fill_people(LOOPBACK, server.ports.imap)
            mailbox.fill_public(LOOPBACK, public.ports.imap)
        settings = place / "portico.toml"
        settings.write_text(settings_text(ports, server.ports, certificate, plugged, servers[-1].ports))
        proxy = start_portico(settings, ports, plugged, log=place / "portico.log")
        stack.callback(proxy.stop)
        print(screen_text(ports, server, certificate, place, plugged), file=screen, flush=True)
        while not stop.wait(POLL_SECONDS):
            if not proxy.running:
                raise DemoError(f"Portico ended (exit code {proxy.returncode}):\n{proxy.last_words()}")
            for one in servers:
                if not one.running:
                    raise DemoError(f"Dovecot ended; the end of its log:\n{one.log.read_text('utf-8', 'replace')[-2000:]}")
        print("\nEnding Portico and Dovecot.", file=screen, flush=True)
    return 0


def _dovecot(place: Path, certificate: Certificates, ports: MailPorts, *, own: bool = False) -> dovecot.Dovecot:
    """Not started. `own`: it has no public folders."""
    return dovecot.Dovecot(
        place,
        users=mailbox.USERS,
        masters=mailbox.MASTERS,
        owner=mailbox.OWNER,
        certificate=certificate.certificate,
        key=certificate.key,
        ports=ports,
        more=plugins.NO_PUBLIC_FOLDERS if own else "",
    )


def start_portico(settings: Path, ports: MailPorts, plugged: PluginPorts | None, *, log: Path) -> Child:
    """Start `portico run` with a settings file; returns when it answers on all ports. Raises `DemoError`."""
    child = Child([sys.executable, "-m", "portico", "run", "-c", str(settings)], log=log)
    child.start()
    try:
        wait_until(
            "Portico",
            lambda: greets(ports.imap) and greets(ports.pop3) and all(map(accepts, (ports.imaps, ports.pop3s, *(plugged or ())))),
            seconds=30,
            alive=lambda: child.running,
        )
    except DemoError as error:
        words = child.last_words()
        child.stop()
        raise DemoError(f"{error}:\n{words}") from error
    return child


def settings_text(
    ports: MailPorts, server: MailPorts, certificate: Certificates, plugged: PluginPorts | None = None, public: MailPorts | None = None
) -> str:
    """portico.toml: four listeners, and STARTTLS with verification towards Dovecot; where `plugged`, two more, with plugins, and the
    Dovecot that has the public folders."""
    tls = f'tls = "starttls"\nca_file = "{certificate.authority}"\nname = "localhost"\n'
    text = f"""# Made by `portico demo`.
[servers.dovecot]
imap = "{LOOPBACK}:{server.imap}"
pop3 = "{LOOPBACK}:{server.pop3}"
{tls}"""

    def listener(name: str, protocol: str, port: int, implicit: bool) -> str:
        return f"""
[listeners.{name}]
protocol = "{protocol}"
addresses = ["{LOOPBACK}:{port}"]
tls = "{"implicit" if implicit else "starttls"}"
certificate = "{certificate.certificate}"
key = "{certificate.key}"
server = "dovecot"
"""

    for name in ("imaps", "pop3s", "imap", "pop3"):
        text += listener(name, name.removesuffix("s"), getattr(ports, name), name.endswith("s"))
    if plugged is not None and public is not None:
        text += plugins.server_text(public.imap, tls)
        for protocol in ("imap", "pop3"):
            name = f"{protocol}s-plugins"
            text += listener(name, protocol, getattr(plugged, f"{protocol}s"), True) + plugins.options_text(name, protocol)
    return text


def screen_text(
    ports: MailPorts, server: dovecot.Dovecot, certificate: Certificates, place: Path, plugged: PluginPorts | None = None
) -> str:
    """The one screen: where, who, what to trust, three things to try."""
    users = "   ".join(f"{user} / {password}" for user, password in mailbox.USERS.items())
    direct, ca, password = server.ports, certificate.authority, mailbox.USERS["alice"]
    columns = [
        ("TLS at once", ports.imaps, ports.pop3s),
        ("STARTTLS, STLS", ports.imap, ports.pop3),
        ("Dovecot itself", direct.imap, direct.pop3),
    ]
    if plugged is None:
        best, about, message, notice = ports.imaps, "", 1, ""
    else:
        columns.insert(2, ("TLS and plugins", plugged.imaps, plugged.pop3s))
        best, about, message, notice = plugged.imaps, plugins.ABOUT, plugins.REQUEST, plugins.NOTICE
    headings, imap, pop3 = ("".join(f"{cell:<17}" for cell in row).rstrip() for row in zip(*map(_cells, columns), strict=True))
    return f"""
Portico {__version__} is running in front of a private Dovecot. Ctrl-C ends both.

          {headings}
  IMAP    {imap}
  POP3    {pop3}
{about}
  Users   {users} (owns the public folders)
  Trust   {ca}
  Files   {place}: portico.toml, portico.log

Three things to try, in another terminal:

  curl --cacert {ca} -u alice:{password} \\
       'imaps://localhost:{best}/INBOX;MAILINDEX={message}'
{notice}
  openssl s_client -quiet -crlf -CAfile {ca} -connect localhost:{best}
       and then type:  a login alice {password}
                       b list "" *

  Thunderbird: user alice, server localhost, IMAP, port {best}, SSL/TLS, normal
       password; import the certificate above under Settings, Certificates, Authorities
"""


def _cells(column: tuple[str, int, int]) -> tuple[str, str, str]:
    heading, imap, pop3 = column
    return heading, f"localhost:{imap}", f"localhost:{pop3}"


def _taken_text(busy: list[int], base: int) -> str:
    numbers = ", ".join(map(str, busy))
    other = next((n for n in range(base + 10000, PORTS_RANGE.stop, 10000) if not taken(n)), base + 3000)
    what = "port" if len(busy) == 1 else "ports"
    return (
        f"{what} {numbers} on {LOOPBACK} taken (another demo?). Choose others: `make run PORTS={other}` or `portico demo --ports {other}`"
    )
