"""The demo's mailbox.

Rule of this file: no server; what a server makes of it is in tests/live.
"""

from __future__ import annotations

import email
import email.policy

import pytest
from portico.demo import mailbox, messages
from portico.demo.mailbox import modified_utf7, quoted


def test_the_mailbox_is_the_same_at_every_run() -> None:
    assert mailbox.alice() == mailbox.alice()
    assert mailbox.public() == mailbox.public()


def test_every_message_is_crlf_text_with_a_parsable_structure() -> None:
    for folder in (*mailbox.alice(), *mailbox.bob(), *mailbox.public()):
        for message in folder.messages:
            assert message.octets.count(b"\n") == message.octets.count(b"\r\n")
            parsed = email.message_from_bytes(message.octets, policy=email.policy.default)
            assert parsed["Message-ID"]
            assert [part.defects for part in parsed.walk() if part.defects] == []


def test_it_holds_what_the_screen_promises() -> None:
    folders = {folder.name: folder for folder in mailbox.alice()}
    assert any(not name.isascii() for name in folders)
    octets = b"".join(message.octets for message in folders["INBOX"].messages)
    assert octets.count(b"method=REQUEST") == 4
    assert b"filename" in octets
    assert all(folder.name.startswith("Public/") for folder in mailbox.public())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("INBOX", "INBOX"),
        ("Entwürfe", "Entw&APw-rfe"),
        ("台北/日本語", "&U,BTFw-/&ZeVnLIqe-"),  # RFC 3501 5.1.3
        ("A & B", "A &- B"),
        ("~peter/mail/台北", "~peter/mail/&U,BTFw-"),
    ],
)
def test_names_are_written_in_modified_utf7(name: str, expected: str) -> None:
    assert modified_utf7(name) == expected


def test_a_name_is_quoted_with_the_servers_separator() -> None:
    assert quoted('a/b "c"', ".") == '"a.b \\"c\\""'


def test_noise_does_not_repeat_and_is_the_same_for_the_same_seed() -> None:
    assert messages.noise(1000, "x") == messages.noise(1000, "x")
    assert messages.noise(64, "x")[:32] != messages.noise(64, "x")[32:]
    assert len(messages.noise(1000, "x")) == 1000
