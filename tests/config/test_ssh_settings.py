"""[servers.<name>.ssh]: what must fit together, and that the host's key is never left unchecked."""

from __future__ import annotations

from pathlib import Path

import asyncssh
import pytest
from portico.config.document import parse_document
from portico.config.load import Loaded, understand
from portico.errors import SettingsError

PRINT = "SHA256:" + "a" * 43
KEY = asyncssh.generate_private_key("ssh-ed25519")
LOCKED = asyncssh.generate_private_key("ecdsa-sha2-nistp256").export_private_key("pkcs8-pem", passphrase="open sesame")


def loaded(directory: Path, *lines: str) -> Loaded:
    host = [] if any(line.startswith("host") for line in lines) else ['host = "gate.example.org"']
    text = '[servers.mail]\nimap = "10.0.0.1:143"\n[servers.mail.ssh]\nuser = "tunnel"\n' + "\n".join([*host, *lines])
    text += '\n[listeners.imap]\nprotocol = "imap"\naddresses = ["127.0.0.1:0"]\ntls = "none"\nplain_login = true\nserver = "mail"\n'
    return understand(parse_document("portico.toml", text), directory)


def problems(directory: Path, *lines: str) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        loaded(directory, *lines)
    return caught.value.problems


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "id").touch(0o600)
    KEY.write_private_key(tmp_path / "id")
    (tmp_path / "known_hosts").write_text(f"gate.example.org {KEY.export_public_key().decode()}")
    (tmp_path / "empty").touch(0o600)
    return tmp_path


def test_a_key_and_a_file_of_known_hosts_are_enough(files: Path) -> None:
    ssh = loaded(files, 'key = "id"', 'known_hosts = "known_hosts"').settings.servers["mail"].ssh
    assert ssh is not None and (ssh.port, ssh.key) == (22, str(files / "id"))


def test_an_agent_and_a_fingerprint_are_enough(files: Path) -> None:
    ssh = loaded(files, 'agent = "agent.socket"', f'fingerprint = "{PRINT}"').settings.servers["mail"].ssh
    assert ssh is not None and ssh.fingerprint == PRINT


def test_without_known_hosts_or_fingerprint_nothing_starts(files: Path) -> None:
    (problem,) = problems(files, 'key = "id"')
    assert "needs known_hosts or fingerprint: the host's key is always checked" in problem
    assert "ssh-keyscan -p 22 gate.example.org" in problem


@pytest.mark.parametrize(
    ("lines", "found"),
    [
        ([f'fingerprint = "{PRINT}"'], "needs one of key and agent"),
        (['key = "id"', 'agent = "a"', f'fingerprint = "{PRINT}"'], "has key and agent; one of them is possible"),
        (['key = "id"', f'fingerprint = "{PRINT}"', 'known_hosts = "known_hosts"'], "has known_hosts and fingerprint"),
        (['key = "id"', 'fingerprint = "MD5:00"'], "the fingerprint of an SSH host's key is expected"),
        (['key = "none"', f'fingerprint = "{PRINT}"'], "none: No such file or directory"),
        (['key = "known_hosts"', f'fingerprint = "{PRINT}"'], "known_hosts: is no private key that SSH knows"),
        (['key = "id"', 'known_hosts = "none"'], "none: No such file or directory"),
        (['key = "id"', 'known_hosts = "empty"'], "empty: is empty"),
        (['key = "id"', f'fingerprint = "{PRINT}"', "port = 0"], "must be at least 1"),
        (['key = "id"', f'fingerprint = "{PRINT}"', 'keepalive = "0s"'], "must be more than 0"),
    ],
)
def test_what_does_not_fit_is_said_with_its_line(files: Path, lines: list[str], found: str) -> None:
    (problem,) = problems(files, *lines)
    assert found in problem and problem.startswith("portico.toml:") and "servers.mail.ssh" in problem


def test_a_key_with_a_passphrase_belongs_into_an_agent(files: Path) -> None:
    (files / "locked").write_bytes(LOCKED)
    (problem,) = problems(files, 'key = "locked"', f'fingerprint = "{PRINT}"')
    assert "has a passphrase; an agent can hold it: set agent in place of key" in problem


@pytest.mark.parametrize("host", ["gate.example.org:22", "[2001:db8::1]", "ssh://gate", ""])
def test_a_host_is_a_name_or_an_address_and_nothing_more(files: Path, host: str) -> None:
    found = problems(files, f'host = "{host}"', 'key = "id"', f'fingerprint = "{PRINT}"')
    assert any("the name or the address of a host is expected, without port and brackets" in problem for problem in found)


def test_a_key_that_everybody_may_read_is_warned_of(files: Path) -> None:
    (files / "id").chmod(0o644)
    (warning,) = [line for line in loaded(files, 'key = "id"', f'fingerprint = "{PRINT}"').warnings if "chmod" in line]
    assert "everybody on this machine may read the key" in warning
