"""Both configurations of the private Dovecot.

Rule of this file: the text; that Dovecot takes it is seen in tests/live.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from portico.demo import dovecot_conf
from portico.demo.ports import MailPorts


def plan(private: bool = False, compress: bool = False) -> dovecot_conf.Plan:
    return dovecot_conf.Plan(
        directory=Path("/d"),
        ports=MailPorts(1143, 1110, 1993, 1995),
        certificate=Path("/c"),
        key=Path("/k"),
        mail_user="me",
        mail_uid=1000,
        mail_gid=1000,
        private_user=("me", "mine") if private else None,
        compress=compress,
    )


@pytest.mark.parametrize("text", [dovecot_conf.for_2_3(plan()), dovecot_conf.for_2_4(plan(), "2.4.1")], ids=["2.3", "2.4"])
def test_both_versions_listen_on_the_loopback_and_write_below_the_directory(text: str) -> None:
    for line in ("listen = 127.0.0.1", "base_dir = /d/run", "state_dir = /d/state", "log_path = /d/dovecot.log"):
        assert line in text
    for port in (1143, 1110, 1993, 1995):
        assert f"port = {port}" in text
    for path in ("/etc/", "/var/", "/usr/"):
        assert path not in text


@pytest.mark.parametrize(
    "text", [dovecot_conf.for_2_3(plan(private=True)), dovecot_conf.for_2_4(plan(private=True), "2.4.1")], ids=["2.3", "2.4"]
)
def test_an_ordinary_user_runs_everything_as_himself_without_chroot(text: str) -> None:
    assert "default_internal_user = me" in text
    assert "default_login_user = me" in text
    assert text.count("chroot =\n") == 3


def test_compression_is_offered_only_if_asked_for() -> None:
    assert "imap_zlib" not in dovecot_conf.for_2_3(plan())
    assert "imap_zlib" in dovecot_conf.for_2_3(plan(compress=True))


def test_passwords_and_rights_stand_in_files_of_their_own() -> None:
    assert dovecot_conf.passwd_file({"alice": "w"}) == "alice:{PLAIN}w\n"
    assert dovecot_conf.global_acl("owner", ["boss"]).splitlines()[-1] == "* user=boss lrwstipekxa"
