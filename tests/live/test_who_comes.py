"""Whose connection it is: HAProxy in front, Dovecot behind, Porticos in a row and in a circle, and a hundred who guess.

Rule of this file: one Portico with a listener for each case. Clients come from addresses of 127.0.0.0/8 of their own, so that the
address at the other end tells whether it was forwarded. What is true of it stands in Dovecot's log and in ours.
"""

from __future__ import annotations

import imaplib
import itertools
import poplib
import re
import socket
import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from portico.demo.certificates import Certificates
from portico.demo.child import Child
from portico.demo.dovecot import Dovecot
from portico.demo.ports import LOOPBACK, accepts, free_ports, wait_until
from portico.wire.proxy_protocol import Tls, compose

from tests.live.dialogue import eventually
from tests.live.front import Front
from tests.live.people import PASSWORD

pytestmark = pytest.mark.live

CLIENT = "127.0.0.7"
NAMES = ("proxied", "proxied_tls", "elsewhere", "trusted", "trusted_pop", "open", "open_pop", "out_v1", "out_v2", "chain", "chain_pop")
CIRCLES = ("circle", "circle_pop", "distrusted")


@dataclass
class House:
    """The Portico of this file, its HAProxy and its Dovecot."""

    directory: Path
    certificates: Certificates
    dovecot: Dovecot
    haproxy_port: int
    """Where Dovecot wants a PROXY header."""
    ports: dict[str, int]

    def settings(self) -> str:
        at = {name: f'"{LOOPBACK}:{port}"' for name, port in self.ports.items()}
        lists = {
            "proxied": 'proxy_protocol = ["127.0.0.0/8"]',
            "proxied_tls": 'proxy_protocol = ["127.0.0.0/8"]',
            "elsewhere": 'proxy_protocol = ["192.0.2.0/24"]',
            "trusted": 'trusted_networks = ["127.0.0.1"]',
            "trusted_pop": 'trusted_networks = ["127.0.0.1"]',
            "circle": 'trusted_networks = ["127.0.0.1"]',
            "circle_pop": 'trusted_networks = ["127.0.0.1"]',
        }
        servers = {"out_v1": "v1", "out_v2": "v2", "chain": "trusted", "chain_pop": "trusted_pop"} | {name: name for name in CIRCLES}
        text = "workers = { count = 2 }\nlimits = { sessions = 400 }\n"
        text += 'penalties = { delay = "200ms", delay_max = "1s" }\n'
        text += f'[servers.dovecot]\nimap = "{LOOPBACK}:{self.dovecot.ports.imap}"\npop3 = "{LOOPBACK}:{self.dovecot.ports.pop3}"\n'
        for kind in ("v1", "v2"):
            text += f'[servers.{kind}]\nimap = "{LOOPBACK}:{self.haproxy_port}"\nproxy_protocol = "{kind}"\nsend_client_address = false\n'
        for name in ("trusted", "trusted_pop", *CIRCLES):
            text += f"[servers.{name}]\n{'pop3' if name.endswith('_pop') else 'imap'} = {at[name]}\nprobe = false\n"
        for name in (*NAMES, *CIRCLES):
            protocol = "pop3" if name.endswith("_pop") else "imap"
            text += f'[listeners.{name}]\nprotocol = "{protocol}"\naddresses = [{at[name]}]\nserver = "{servers.get(name, "dovecot")}"\n'
            text += f'{lists.get(name, "")}\nlimits = {{ wrong_login_delay = "100ms" }}\n'
            if name == "proxied_tls":
                text += f'certificate = "{self.certificates.certificate}"\nkey = "{self.certificates.key}"\n'
            else:
                text += f'tls = "none"\nplain_login = {"false" if name == "proxied" else "true"}\n'
        return text

    @property
    def front(self) -> Front:
        return Front(self.directory, self.dovecot.ports, self.certificates)

    def events(self, name: str, **fields: Any) -> list[dict[str, Any]]:
        return [event for event in self.front.events(name) if all(event.get(key) == value for key, value in fields.items())]

    def gaps(self, user: str) -> Iterator[tuple[int, float]]:
        """Between the wrong logins from each address, as the log has them: after which, and seconds."""
        times: dict[str, list[datetime]] = {}
        for event in self.events("login.failed", user=user):
            times.setdefault(event["rip"], []).append(datetime.fromisoformat(event["timestamp"]))
        for of_one in times.values():
            yield from enumerate((after - before).total_seconds() for before, after in itertools.pairwise(of_one))

    def connect(self, port: int, source: str = CLIENT) -> socket.socket:
        return socket.create_connection((LOOPBACK, port), timeout=30, source_address=(source, 0))

    def imap(self, port: int, source: str = CLIENT, before: bytes = b"") -> imaplib.IMAP4:
        """A client that says `before` first."""
        return _Imap(lambda: self.connect(port, source), before)

    def logged_in(self, user: str, session: str) -> str:
        """Dovecot's line about a login, found by the session's id."""
        pattern = re.compile(rf".*-login: Info: Login: user=<{user}>.*session=<{re.escape(session)}>.*")
        found: list[str] = []

        def look() -> bool:
            found[:] = pattern.findall(self.dovecot.log.read_text("utf-8", "replace"))
            return bool(found)

        assert eventually(look)
        return found[-1]


class _Imap(imaplib.IMAP4):
    def __init__(self, connect: Callable[[], socket.socket], before: bytes) -> None:
        self._dial, self._said_first = connect, before
        super().__init__()

    def _create_socket(self, timeout: float | None) -> socket.socket:
        sock = self._dial()
        sock.sendall(self._said_first)
        return sock


@pytest.fixture(scope="module")
def house(place: Path, certificates: Certificates) -> Iterator[House]:
    """Dovecot, Portico and (where asked for) HAProxy."""
    names = [*NAMES, *CIRCLES]
    haproxy_port, *numbers = free_ports(1 + len(names))
    more = f"""
haproxy_trusted_networks = 127.0.0.0/8
auth_failure_delay = 0
service imap-login {{
  inet_listener imap_haproxy {{
    port = {haproxy_port}
    haproxy = yes
  }}
}}
"""
    users = {"alice": PASSWORD, "good": "right", "victim": "unknown to all"}
    dovecot = Dovecot(place / "who-comes", users=users, certificate=certificates.certificate, key=certificates.key, more=more)
    with dovecot:
        house = House(place / "who-comes-portico", certificates, dovecot, haproxy_port, dict(zip(names, numbers, strict=True)))
        house.directory.mkdir()
        house.front.settings.write_text(house.settings())
        child = Child([sys.executable, "-m", "portico", "run", "-c", str(house.front.settings)], log=house.front.log)
        child.start()
        try:
            wait_until("Portico", lambda: bool(house.events("proxy.started")), seconds=60, alive=lambda: child.running)
            yield house
        except Exception:
            print(house.settings(), child.last_words(60), sep="\n")
            raise
        finally:
            child.stop()


@pytest.fixture(scope="module")
def haproxy(house: House, need: Callable[..., None]) -> Iterator[dict[str, int]]:
    """Ports of HAProxy: v1 and v2 pass TLS through, tls ends it and says so."""
    need("haproxy")
    ports = dict(zip(("v1", "v2", "tls"), free_ports(3), strict=True))
    both = house.directory / "haproxy.pem"
    both.write_bytes(Path(house.certificates.certificate).read_bytes() + Path(house.certificates.key).read_bytes())
    ways = {"v1": ("proxied_tls", "send-proxy"), "v2": ("proxied_tls", "send-proxy-v2"), "tls": ("proxied", "send-proxy-v2-ssl-cn")}
    text = "global\n  maxconn 100\ndefaults\n  mode tcp\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n"
    for name, (listener, how) in ways.items():
        crt = f" ssl crt {both}" if name == "tls" else ""
        checked = " check check-send-proxy" if name == "v2" else ""
        text += f"frontend f_{name}\n  bind {LOOPBACK}:{ports[name]}{crt}\n  default_backend b_{name}\n"
        text += f"backend b_{name}\n  server portico {LOOPBACK}:{house.ports[listener]} {how}{checked}\n"
    configuration = house.directory / "haproxy.cfg"
    configuration.write_text(text)
    child = Child(["haproxy", "-db", "-f", str(configuration)], log=house.directory / "haproxy.log")
    child.start()
    try:
        wait_until("HAProxy", lambda: all(map(accepts, ports.values())), seconds=30, alive=lambda: child.running)
        yield ports
    finally:
        child.stop()


@pytest.mark.parametrize("way", ["v1", "v2", "tls"])
def test_behind_haproxy_the_client_is_the_client_for_us_and_for_dovecot(way: str, house: House, haproxy: dict[str, int]) -> None:
    context = ssl.create_default_context(cafile=str(house.certificates.authority))
    with context.wrap_socket(house.connect(haproxy[way]), server_hostname="localhost") as sock:
        client = _Imap(lambda: sock, b"")
        client.login("alice", PASSWORD)
        name = "proxied" if way == "tls" else "proxied_tls"
        seen = lambda: house.events("login.succeeded", listener=name, rip=CLIENT)  # noqa: E731
        assert eventually(lambda: bool(seen()))
        event = seen()[-1]
        assert (event["real_rip"], event["rport"], event["tls"]) == (LOOPBACK, sock.getsockname()[1], sock.version())
        assert f"rip={CLIENT}," in house.logged_in("alice", event["session"])
        client.logout()


def test_without_a_proxy_header_or_from_elsewhere_nobody_comes_in(house: House) -> None:
    for name, reason in (("proxied", "not_proxied"), ("elsewhere", "not_listed")):
        with house.connect(house.ports[name]) as sock, pytest.raises((ConnectionError, AssertionError)):
            sock.sendall(b"a1 LOGIN alice secret\r\n")
            assert sock.recv(100)
        assert eventually(lambda name=name, reason=reason: bool(house.events("listener.refused", listener=name, reason=reason, rip=CLIENT)))


@pytest.mark.parametrize("kind", ["out_v1", "out_v2"])
def test_dovecot_is_told_by_the_proxy_protocol_who_comes(kind: str, house: House) -> None:
    # Portico's own question at the start goes by the same protocol.
    assert eventually(lambda: bool(house.events("server.probed", server=kind.removeprefix("out_"))))
    lines = lambda: [line for line in house.dovecot.log.read_text().splitlines() if "Login: user=<alice>" in line]  # noqa: E731
    before = len(lines())
    client = house.imap(house.ports[kind])
    client.login("alice", PASSWORD)
    assert eventually(lambda: len(lines()) > before)
    assert f"rip={CLIENT}," in lines()[-1] and f"lip={LOOPBACK}," in lines()[-1]
    client.logout()


def test_two_porticos_in_a_row_tell_dovecot_of_the_client(house: House) -> None:
    client = house.imap(house.ports["chain"])
    client.login("alice", PASSWORD)
    outer = lambda: house.events("login.succeeded", listener="chain", rip=CLIENT)  # noqa: E731
    inner = lambda: house.events("login.succeeded", listener="trusted", rip=CLIENT)  # noqa: E731
    assert eventually(lambda: bool(outer() and inner()))
    assert inner()[-1]["real_rip"] == LOOPBACK
    assert f"rip={CLIENT}," in house.logged_in("alice", inner()[-1]["session"])
    client.logout()
    pop = poplib.POP3(LOOPBACK, house.ports["chain_pop"], timeout=30)
    pop.user("alice")
    pop.pass_(PASSWORD)
    pop.quit()
    assert eventually(lambda: bool(house.events("login.succeeded", listener="trusted_pop", rip=LOOPBACK)))
    assert house.events("login.succeeded", listener="trusted_pop")[-1]["real_rip"] == LOOPBACK


def test_a_client_that_speaks_for_another_is_not_believed(house: House) -> None:
    client = house.imap(house.ports["open"])
    client.xatom("ID", '("x-originating-ip" "203.0.113.9" "x-session-id" "forged")')
    client.login("alice", PASSWORD)
    assert eventually(lambda: bool(house.events("login.succeeded", listener="open", rip=CLIENT)))
    line = house.logged_in("alice", house.events("login.succeeded", listener="open", rip=CLIENT)[-1]["session"])
    assert f"rip={CLIENT}," in line
    assert house.events("session.forwarding_ignored", listener="open") and not house.events("login.succeeded", rip="203.0.113.9")
    client.logout()


def test_a_circle_of_porticos_ends_whether_they_trust_each_other_or_not(house: House) -> None:
    for name in ("circle", "distrusted"):
        client = house.imap(house.ports[name])
        with pytest.raises(imaplib.IMAP4.error, match="circle"):
            client.login("alice", PASSWORD)
        assert eventually(lambda name=name: len(house.events("login.failed", listener=name)) >= 5)
        failed = house.events("login.failed", listener=name)
        assert [event["reason"] for event in failed].count("loop") == 1 and len(failed) == 5
        client.logout()
    pop = poplib.POP3(LOOPBACK, house.ports["circle_pop"], timeout=30)
    pop.user("alice")
    with pytest.raises(poplib.error_proto, match="SYS/TEMP"):
        pop.pass_(PASSWORD)
    pop.quit()


def test_a_hundred_addresses_that_guess_are_slowed_and_a_good_user_comes_in(house: House) -> None:
    over = threading.Event()
    guesses = [0] * 100

    def guess(number: int) -> None:
        while not over.is_set():
            header = compose(2, (f"198.51.100.{number}", 1000), (LOOPBACK, 143), tls=Tls("TLSv1.3"))
            client = house.imap(house.ports["proxied"], LOOPBACK, header)
            with suppress(imaplib.IMAP4.error):
                client.login("victim", f"guess {guesses[number]} of {number}")
            guesses[number] += 1
            client.shutdown()

    threads = [threading.Thread(target=guess, args=(number,)) for number in range(100)]
    for thread in threads:
        thread.start()
    try:
        assert eventually(lambda: min(guesses) >= 3)
        client = house.imap(house.ports["open"])
        client.login("good", "right")
        client.logout()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    # Each wrong password costs an address more: 0.2, 0.4, 0.8, 1, 1 … seconds, whichever worker it comes to. Should the supervisor stand still
    # for a moment, a guess may overtake what is told of the one before.
    gaps = [seconds >= min(0.2 * 2.0**number, 1.0) - 0.02 for number, seconds in house.gaps("victim")]
    assert len(gaps) >= 200 and gaps.count(False) <= len(gaps) // 10
    assert not house.events("login.succeeded", user="victim")
