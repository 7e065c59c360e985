"""Real servers for the live tests, each started once for the whole run.

Rule of this file: what a machine lacks is said in the skip's reason; with PORTICO_LIVE=require
(set by `make test`, which installs everything) it is a failure.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn

import pytest
from portico.demo import certificates as demo_certificates
from portico.demo import dovecot as demo_dovecot
from portico.demo import mailbox
from portico.demo.certificates import Certificates
from portico.demo.dovecot import Dovecot
from portico.demo.mailbox import Folder
from portico.demo.ports import LOOPBACK, MailPorts
from portico.demo.workplace import workplace

from tests.live.clients import Account, Tls
from tests.live.courier import NAMESPACES, Courier
from tests.live.cyrus import Cyrus
from tests.live.fetch import CannotFetch, fetch
from tests.live.front import Front, ServerTls
from tests.live.people import MANY, PASSWORD, USERS, People, load
from tests.live.scripted import Connection, Scripted
from tests.live.stores import CYRUS_WAYS, NAMED, PUBLIC_WAYS, READERS, Public, dovecot_store, fill_cyrus, fill_dovecot, public_front

Server = Dovecot | Cyrus | Courier


def lacking(what: str) -> NoReturn:
    """This machine cannot run the test."""
    if os.environ.get("PORTICO_LIVE") == "require":
        pytest.fail(what)
    pytest.skip(what)


@pytest.fixture(scope="session")
def need() -> Callable[..., None]:
    """``need("curl")``: the test goes on if the programs are there."""

    def check(*programs: str) -> None:
        if missing := [program for program in programs if shutil.which(program) is None]:
            lacking(f"not installed: {', '.join(missing)} (make test installs it)")

    return check


@pytest.fixture(scope="session")
def place() -> Iterator[Path]:
    """A directory for servers: short (socket paths are at most 107 octets) and open to those whom servers run as."""
    with workplace() as directory:
        yield directory


@pytest.fixture(scope="session")
def certificates(place: Path) -> Certificates:
    """What servers and Portico show, and what clients trust."""
    directory = place / "certificates"
    directory.mkdir()
    return demo_certificates.issue(directory)


@pytest.fixture(scope="session")
def dovecot(place: Path, certificates: Certificates) -> Iterator[Dovecot]:
    """Dovecot with the demo's mailboxes, and `people` with empty ones."""
    with _dovecot(place / "dovecot", certificates) as server:
        yield server


@pytest.fixture(scope="session")
def dovecot_that_compresses(place: Path, certificates: Certificates) -> Iterator[Dovecot]:
    """As `dovecot`, with COMPRESS=DEFLATE in its list, which Portico withholds: its sessions are watched, not tunnelled."""
    with _dovecot(place / "dovecot-z", certificates, compress=True) as server:
        yield server


@pytest.fixture(scope="session")
def cyrus(place: Path, certificates: Certificates, project: Path) -> Iterator[Cyrus]:
    """Cyrus with the demo's mailbox of alice, and `people` with empty ones."""
    server = Cyrus(unpacked("cyrus", project), place / "cyrus", users={"alice": PASSWORD} | USERS, certificates=certificates)
    server.start()
    try:
        load(server, "alice", mailbox.alice())
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def courier(place: Path, certificates: Certificates, project: Path) -> Iterator[Courier]:
    """Courier with the demo's mailbox of alice, and `people` with empty ones."""
    mine = [] if os.geteuid() == 0 else ["--map-root-user"]
    if subprocess.run([*NAMESPACES, *mine, "true"], capture_output=True, check=False).returncode:
        pytest.skip("Courier needs a mount namespace, and this user may make none (root may)")
    server = Courier(unpacked("courier", project), place / "courier", users={"alice": PASSWORD} | USERS, certificates=certificates)
    server.start()
    try:
        load(server, "alice", mailbox.alice())
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def people() -> People:
    """Users with empty mailboxes, each given out once: for tests that change something."""
    return People()


@dataclass(frozen=True)
class Way:
    """The two ways to one server: straight, and through Portico."""

    server: Server
    front: Front
    authority: Path
    tls: Tls
    """Of the client."""
    people: People

    @property
    def ports(self) -> MailPorts:
        """Portico's, where clients with `tls` come in."""
        return self.front.clear if self.tls == "none" else self.front.ports

    def direct(self, user: str = "alice") -> Account:
        return Account(self.server.ports, user, PASSWORD, self.authority, self.tls)

    def through(self, user: str = "alice") -> Account:
        return Account(self.ports, user, PASSWORD, self.authority, self.tls)

    def new_user(self, folders: Sequence[Folder] = ()) -> str:
        user = self.people.new(self.server)
        load(self.server, user, folders)
        return user


# Each server, and TLS of each kind on both legs; every product of them is in test_tls_each_way.py.
WAYS: dict[str, tuple[str, ServerTls, Tls]] = {
    "dovecot, plain; client implicit": ("dovecot", "none", "implicit"),
    "dovecot, STARTTLS; client STARTTLS": ("dovecot", "starttls", "starttls"),
    "dovecot, implicit; client plain": ("dovecot", "implicit", "none"),
    "dovecot with COMPRESS, plain; client STARTTLS": ("dovecot_that_compresses", "none", "starttls"),
    "cyrus, plain; client plain": ("cyrus", "none", "none"),
    "cyrus, STARTTLS; client implicit": ("cyrus", "starttls", "implicit"),
    "cyrus, implicit; client STARTTLS": ("cyrus", "implicit", "starttls"),
    "courier, plain; client implicit": ("courier", "none", "implicit"),
    "courier, STARTTLS; client STARTTLS": ("courier", "starttls", "starttls"),
    "courier, implicit; client plain": ("courier", "implicit", "none"),
}


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest, portico: Callable[..., Front], certificates: Certificates, people: People) -> Way:
    """Each server behind Portico, with TLS on both legs in each of its kinds."""
    name, tls, client_tls = WAYS[request.param]
    server: Server = request.getfixturevalue(name)
    return Way(server, portico(server, tls), certificates.authority, client_tls, people)


@pytest.fixture(scope="session")
def portico(place: Path, certificates: Certificates) -> Iterator[Callable[..., Front]]:
    """``portico(server, "starttls")``: Portico in front of a server; the same for the same arguments."""
    fronts: dict[tuple[MailPorts, str, str], Front] = {}
    with ExitStack() as stack:

        def start(server: Server, tls: ServerTls = "none", **more: Any) -> Front:
            key = (server.ports, tls, repr(sorted(more.items())))
            if key not in fronts:
                directory = place / f"portico-{len(fronts)}"
                front = Front(directory, server.ports, certificates, tls, **more)
                stack.callback(front.stop)
                fronts[key] = front.start()
            return fronts[key]

        yield start


@pytest.fixture
def fronted(place: Path, certificates: Certificates) -> Iterator[Callable[..., tuple[Scripted, Front]]]:
    """``fronted(script)``: a scripted server and a Portico of its own in front of it; for one protocol, IMAP unless said."""
    started: list[Scripted | Front] = []

    def start(
        script: Callable[[Connection], None], tls: ServerTls = "none", protocol: Literal["imap", "pop3"] = "imap", **more: Any
    ) -> tuple[Scripted, Front]:
        server = Scripted(script, certificates, protocol)
        started.append(server)
        directory = place / f"fault-{server.ports.imap}"
        front = Front(directory, server.ports, certificates, tls, protocols=(protocol,), **more)
        started.append(front)
        return server, front.start()

    yield start
    for one in reversed(started):
        one.stop()
    assert not [failure for one in started if isinstance(one, Scripted) for failure in one.failures]


@pytest.fixture(scope="session")
def readers() -> Iterator[str]:
    """As `people`, for tests of public folders."""
    return iter(READERS)


@pytest.fixture
def reader(readers: Iterator[str]) -> str:
    """A user of `dovecot` and `public_store` whom nobody has used there."""
    return next(readers)


@pytest.fixture(scope="session")
def public_store(place: Path, certificates: Certificates) -> Iterator[Dovecot]:
    """A Dovecot that holds public folders, with ACLs."""
    if packages := demo_dovecot.missing():
        lacking(f"not installed: {' '.join(packages)} (make test installs it)")
    with dovecot_store(place / "public-store", certificates) as store:
        fill_dovecot(store)
        yield store


@pytest.fixture(scope="session")
def public(place: Path, certificates: Certificates, dovecot: Dovecot, public_store: Dovecot) -> Iterator[Public]:
    """The public folders of `public_store` in the trees of the users of `dovecot`, in every way (tests.live.stores.PUBLIC_WAYS)."""
    with socket.create_server((LOOPBACK, 0)) as silent, socket.socket() as down:
        down.bind((LOOPBACK, 0))  # nobody else gets the port, and who connects is refused
        servers = {"store": public_store.ports.imap, "down": down.getsockname()[1], "silent": silent.getsockname()[1]}
        front = public_front(place / "public-front", certificates, dovecot, servers, PUBLIC_WAYS)
        front.front.start()
        try:
            yield front
        finally:
            front.front.stop()


@pytest.fixture(scope="session")
def public_cyrus(place: Path, certificates: Certificates, dovecot: Dovecot, cyrus: Cyrus) -> Iterator[Public]:
    """The shared folders of `cyrus` in the trees of the users of `dovecot`."""
    fill_cyrus(cyrus)
    front = public_front(place / "public-cyrus", certificates, dovecot, {"store": cyrus.ports.imap}, CYRUS_WAYS)
    front.front.start()
    try:
        yield front
    finally:
        front.front.stop()


@contextmanager
def _dovecot(directory: Path, certificates: Certificates, *, compress: bool = False) -> Iterator[Dovecot]:
    if packages := demo_dovecot.missing():
        lacking(f"not installed: {' '.join(packages)} (make test installs it)")
    server = Dovecot(
        directory,
        users=mailbox.USERS | MANY | READERS | NAMED,
        masters=mailbox.MASTERS,
        owner=mailbox.OWNER,
        certificate=certificates.certificate,
        key=certificates.key,
        mechanisms="plain login cram-md5",
        compress=compress,
    )
    with server:
        mailbox.fill_all("127.0.0.1", server.ports.imap)
        yield server


def unpacked(name: str, project: Path) -> Path:
    """The tree of a server of tests.live.fetch."""
    try:
        return fetch(name, project / ".cache" / "servers")
    except CannotFetch as error:
        lacking(str(error))
