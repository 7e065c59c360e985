"""`portico demo` as a newcomer meets it.

Rule of this file: the program is run as it is; what it prints is done as printed.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from portico.demo import dovecot as demo_dovecot
from portico.demo import mailbox, plugins
from portico.demo.main import DOVECOT_OFFSET, POLL_SECONDS, taken
from portico.demo.ports import MailPorts, greets

from tests.live.clients import Account, imaplib_walk, poplib_walk
from tests.live.conftest import lacking
from tests.live.dialogue import eventually

pytestmark = pytest.mark.live


class Demo:
    """A running `portico demo`; with `code`, Python that is run instead of it."""

    def __init__(self, base: int, directory: Path, code: str | None = None) -> None:
        self.directory = directory
        self.process = subprocess.Popen(
            [sys.executable, *(["-m", "portico", "demo", "--directory", str(directory)] if code is None else ["-c", code, str(directory)])],
            env=os.environ | {"PORTS": str(base)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.base = base

    def wait_for_screen(self) -> str:
        assert self.process.stdout is not None
        screen = ""
        for line in self.process.stdout:
            screen += line
            if "Thunderbird" in line:
                return screen + self.process.stdout.readline()
        raise AssertionError(f"no screen: {self.process.communicate()}")

    def end(self, number: signal.Signals = signal.SIGINT) -> int:
        self.process.send_signal(number)
        self.process.communicate(timeout=20)
        return self.process.returncode

    @property
    def left(self) -> list[Path]:
        return list(self.directory.glob("portico-demo-*"))

    def processes(self) -> list[str]:
        """Command lines of what runs in the demo's directory."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                words = path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
            except OSError:
                continue
            if f"{self.directory}/portico-demo-" in words:
                found.append(words)
        return found


@pytest.fixture
def base() -> int:
    """A number that can be added to the well-known ports."""
    return next(number for number in range(16000, 30000, 2100) if not taken(number))


@pytest.fixture
def demo(place: Path, base: int) -> Iterator[Demo]:
    if packages := demo_dovecot.missing():
        lacking(f"not installed: {' '.join(packages)}")
    directory = place / f"demo-{base}"
    directory.mkdir(exist_ok=True)
    running = Demo(base, directory)
    yield running
    if running.process.poll() is None:
        running.end(signal.SIGTERM)


WITHOUT_PLUGINS = """
import os, sys
from pathlib import Path
from portico.demo import main, plugins
plugins.installed = lambda: False
sys.exit(main.run(os.environ["PORTS"], directory=Path(sys.argv[1])))
"""


def run(words: list[str], said: str = "") -> str:
    """What a program that was started so prints; the authority that it is told to trust is there."""
    done = subprocess.run(words, input=said, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout, done.stderr
    return done.stdout


def curl_line(screen: str) -> list[str]:
    command = re.search(r"^ +(curl .*?'\S+')$", screen, re.MULTILINE | re.DOTALL)
    assert command is not None
    return shlex.split(command[1].replace("\\\n", " "))


def openssl_line(screen: str) -> tuple[list[str], str]:
    """The command, and what to type then."""
    command = re.search(r"^ +(openssl .*)\n +and then type: +(.*)\n +(b .*)$", screen, re.MULTILINE)
    assert command is not None
    return shlex.split(command[1]), f"{command[2]}\n{command[3]}\nc select INBOX\nd logout\n"


def test_the_screen_fits_and_its_curl_line_shows_a_request_with_its_link(demo: Demo, need: Callable[..., None]) -> None:
    need("curl")
    screen = demo.wait_for_screen()
    assert len(screen.splitlines()) <= 26
    for port in (993, 995, 143, 110, 1143, 1110, 2993, 2995):
        assert f"localhost:{demo.base + port}" in screen
    for user, password in mailbox.USERS.items():
        assert f"{user} / {password}" in screen
    words = curl_line(screen)
    assert Path(words[words.index("--cacert") + 1]).read_text().startswith("-----BEGIN CERTIFICATE-----")
    link = f"https://{plugins.HOST}/"
    assert link in run(words)
    assert link in run([*words[:-1], f"pop3s://localhost:{demo.base + 2995}/9"])
    for url in (f"imaps://localhost:{demo.base + 993}/INBOX;MAILINDEX=9", f"pop3s://localhost:{demo.base + 995}/9"):
        plain = run([*words[:-1], url])
        assert "Subject: Quartalsplanung" in plain
        assert link not in plain


def test_its_openssl_line_reaches_the_mailbox_and_the_public_folders(demo: Demo, need: Callable[..., None]) -> None:
    need("openssl")
    words, said = openssl_line(demo.wait_for_screen())
    answer = run(words, said)
    assert "a OK" in answer
    assert "* 14 EXISTS" in answer
    assert '"Public Folders/Team/Minutes"' in answer
    words[-1] = f"localhost:{demo.base + 993}"
    answer = run(words, said)
    assert "* 14 EXISTS" in answer
    assert "Public" not in answer


def test_the_ports_without_plugins_say_what_the_server_says(demo: Demo) -> None:
    """But for names and numbers of the moment: the separator, all folders and the messages of each, octet for octet."""
    demo.wait_for_screen()
    (place,) = demo.left
    ports = MailPorts.standard_plus(demo.base)
    through = Account(ports, "alice", mailbox.USERS["alice"], place / "ca.pem", "implicit")
    direct = replace(through, ports=MailPorts.standard_plus(demo.base + DOVECOT_OFFSET))
    for walk in (imaplib_walk, poplib_walk):
        assert walk(through) == walk(direct)


def test_without_the_plugins_it_is_the_same_server_with_public_folders_of_its_own(
    place: Path, base: int, need: Callable[..., None]
) -> None:
    need("curl", "openssl")
    directory = place / f"demo-{base}"
    directory.mkdir(exist_ok=True)
    bare = Demo(base, directory, WITHOUT_PLUGINS)
    try:
        screen = bare.wait_for_screen()
        assert "lugin" not in screen
        assert str(base + 2993) not in screen
        assert "Subject: Welcome to Portico" in run(curl_line(screen))
        answer = run(*openssl_line(screen))
        assert '"/" Public/Team/Minutes' in answer
        assert "* 14 EXISTS" in answer
    finally:
        assert bare.end() == 0
    assert bare.left == []


def test_it_goes_on_until_somebody_ends_it(demo: Demo) -> None:
    demo.wait_for_screen()
    time.sleep(5 * POLL_SECONDS)
    assert demo.process.poll() is None
    assert greets(demo.base + 143)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ending_it_ends_everything_it_started(demo: Demo, number: signal.Signals) -> None:
    demo.wait_for_screen()
    assert demo.processes()
    assert demo.end(number) == 0
    assert demo.left == []
    assert eventually(lambda: not demo.processes())
    assert taken(demo.base) == []


def test_a_second_one_says_which_ports_are_taken_and_runs_with_others(demo: Demo, base: int) -> None:
    demo.wait_for_screen()
    second = Demo(base, demo.directory)
    _, complaint = second.process.communicate(timeout=20)
    assert second.process.returncode == 1
    assert str(base + 993) in complaint
    other = re.search(r"PORTS=(\d+)", complaint)
    assert other is not None
    third = Demo(int(other[1]), demo.directory)
    try:
        third.wait_for_screen()
        assert len(demo.left) == 2
    finally:
        assert third.end() == 0
    assert greets(base + 143)


def test_one_that_was_killed_leaves_nothing_that_harms_the_next(demo: Demo, base: int) -> None:
    demo.wait_for_screen()
    demo.end(signal.SIGKILL)
    assert eventually(lambda: not demo.processes(), 10)
    assert len(demo.left) == 1
    again = Demo(base, demo.directory)
    try:
        again.wait_for_screen()
        assert len(demo.left) == 1
    finally:
        assert again.end() == 0
    assert demo.left == []
