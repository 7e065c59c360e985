"""Exit codes, for scripts and service managers.

Rule of this file: a number never changes its meaning; docs/reference/command-line.md lists them all (a test holds it to this).
"""

from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    OK = 0
    """Done; `run`: ended because it was asked to."""
    FAILED = 1
    """Something went wrong while running."""
    USAGE = 2
    """The command line is wrong (click's)."""
    SETTINGS = 3
    """The settings file has mistakes, or is not there."""
    ADDRESS = 4
    """An address cannot be listened on: in use, or not permitted."""
    CERTIFICATE = 5
    """`certs show`: a certificate has expired, or does so within --warn days."""
    INTERRUPTED = 130
    """Ctrl-C, where it is not the ordinary end."""
