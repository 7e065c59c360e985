"""The process around a proxy: what it asks of the system before it serves."""

from __future__ import annotations

import resource
import subprocess
import sys

PROGRAM = """
import resource, sys
from portico.app.main import open_descriptors
resource.setrlimit(resource.RLIMIT_NOFILE, (256, {hard}))
said = open_descriptors({sessions})
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
print(*said, sep="\\n")
"""


def said(sessions: int, hard: int) -> list[str]:
    program = PROGRAM.format(sessions=sessions, hard=hard)
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split("\n")


def test_the_soft_limit_of_descriptors_is_raised_to_what_the_system_allows() -> None:
    assert said(100, 700)[:2] == ["700", ""]


def test_more_sessions_than_descriptors_are_warned_of() -> None:
    limit, warning, *_ = said(1000, 700)
    assert limit == "700"
    assert "limits.sessions = 1000 may need 2064 descriptors, and the system allows 700" in warning


def test_this_process_keeps_its_own_limits() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    said(1, 300)
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == before
