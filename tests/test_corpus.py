"""The corpus is what it says.

Rule of this file: about the messages themselves; what Portico makes of them is tested where it is made.
"""

from __future__ import annotations

import email
import email.policy
from pathlib import Path

from tests.corpus.make import corpus as made


def test_the_files_are_what_the_script_makes(corpus: list[Path]) -> None:
    assert {path.name: path.read_bytes() for path in corpus} == made()


def test_every_line_ends_with_crlf(corpus: list[Path]) -> None:
    for path in corpus:
        octets = path.read_bytes()
        assert octets.count(b"\n") == octets.count(b"\r\n"), path.name


def test_the_invitations_are_requests_and_nothing_else_is(corpus: list[Path]) -> None:
    requests = set()
    for path in corpus:
        message = email.message_from_bytes(path.read_bytes(), policy=email.policy.default)
        for part in message.walk():
            if (
                part.get_content_type() == "text/calendar"
                and part.get_param("method") == "REQUEST"
                and "METHOD:REQUEST" in part.get_content()
            ):
                requests.add(path.stem)
    assert requests == {"invite-outlook", "invite-google", "invite-icloud", "invite-calendar-only"}
