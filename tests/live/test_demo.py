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
from pathlib import Path

import pytest
from portico.demo import dovecot as demo_dovecot
from portico.demo import mailbox
from portico.demo.main import POLL_SECONDS, taken
from portico.demo.ports import greets

from tests.live.conftest import lacking
from tests.live.dialogue import eventually

pytestmark = pytest.mark.live


class Demo:
    """A running `portico demo`; `screen` is what it printed."""

    def __init__(self, base: int, directory: Path) -> None:
        self.directory = directory
        self.process = subprocess.Popen(
            [sys.executable, "-m", "portico", "demo", "--directory", str(directory)],
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


def test_the_screen_fits_and_its_curl_line_works(demo: Demo, need: Callable[..., None]) -> None:
    need("curl")
    screen = demo.wait_for_screen()
    assert len(screen.splitlines()) <= 26
    for port in (993, 995, 143, 110):
        assert f"localhost:{demo.base + port}" in screen
    for user, password in mailbox.USERS.items():
        assert f"{user} / {password}" in screen
    command = re.search(r"^ +(curl .*?'\S+')$", screen, re.MULTILINE | re.DOTALL)
    assert command is not None
    words = shlex.split(command[1].replace("\\\n", " "))
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False, stdin=subprocess.DEVNULL)
    assert "Subject: Welcome to Portico" in done.stdout, done.stderr
    assert Path(words[words.index("--cacert") + 1]).read_text().startswith("-----BEGIN CERTIFICATE-----")


def test_its_openssl_line_reaches_the_mailbox(demo: Demo, need: Callable[..., None]) -> None:
    need("openssl")
    screen = demo.wait_for_screen()
    command = re.search(r"^ +(openssl .*)$", screen, re.MULTILINE)
    login = re.search(r"then type: +(.*)$", screen, re.MULTILINE)
    assert command is not None
    assert login is not None
    said = f"{login[1]}\nb select INBOX\nc logout\n"
    done = subprocess.run(shlex.split(command[1]), input=said, capture_output=True, text=True, timeout=20, check=False)
    assert "a OK" in done.stdout, done.stderr
    assert "* 14 EXISTS" in done.stdout


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
