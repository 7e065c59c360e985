"""What `portico demo` says before and instead of starting.

Rule of this file: nothing is started; the demo itself is run in tests/live/test_demo.py.
"""

from __future__ import annotations

import socket
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from portico.demo import dovecot, main, plugins
from portico.demo.certificates import Certificates
from portico.demo.child import Child, DemoError
from portico.demo.plugins import PluginPorts
from portico.demo.ports import LOOPBACK, MailPorts, free_ports, is_free, wait_until
from portico.demo.workplace import PREFIX, sweep, workplace


def test_the_number_is_added_to_the_well_known_ports() -> None:
    assert list(MailPorts.standard_plus(main.parse_base("20000"))) == [20143, 20110, 20993, 20995]
    assert main.parse_base(None) == main.parse_base("") == main.DEFAULT_BASE


@pytest.mark.parametrize("wrong", ["zwanzig", "-1", "0", "65000", "٣", "1e4"])
def test_a_wrong_number_is_said_with_the_possible_ones(wrong: str) -> None:
    with pytest.raises(DemoError, match="20993"):
        main.parse_base(wrong)


def test_a_taken_port_is_named_with_the_way_out(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dovecot, "missing", list)
    (port,) = free_ports(1)
    with socket.socket() as other:
        other.bind((LOOPBACK, port))
        other.listen()
        assert not is_free(port)
        assert main.run(port - 993) == 1
    said = capsys.readouterr().err
    assert str(port) in said
    assert "PORTS=" in said


def test_a_missing_dovecot_is_said_with_the_package(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dovecot, "missing", lambda: ["dovecot-imapd"])
    assert main.run() == 1
    assert "apt-get install dovecot-imapd" in capsys.readouterr().err


CERTIFICATE = Certificates(Path("/ca"), Path("/cert"), Path("/key"))


def test_the_settings_it_writes_have_four_listeners_and_verified_tls_to_the_server() -> None:
    settings = tomllib.loads(main.settings_text(MailPorts(1, 2, 3, 4), MailPorts(5, 6, 7, 8), CERTIFICATE))
    assert settings["servers"]["dovecot"] == {
        "imap": "127.0.0.1:5", "pop3": "127.0.0.1:6", "tls": "starttls", "ca_file": "/ca", "name": "localhost"
    }  # fmt: skip
    listeners = {name: (row["protocol"], row["addresses"], row["tls"]) for name, row in settings["listeners"].items()}
    assert listeners == {
        "imaps": ("imap", ["127.0.0.1:3"], "implicit"),
        "pop3s": ("pop3", ["127.0.0.1:4"], "implicit"),
        "imap": ("imap", ["127.0.0.1:1"], "starttls"),
        "pop3": ("pop3", ["127.0.0.1:2"], "starttls"),
    }


def test_with_the_plugins_two_more_listeners_have_them_and_the_others_stay_as_they_are() -> None:
    plain = tomllib.loads(main.settings_text(MailPorts(1, 2, 3, 4), MailPorts(5, 6, 7, 8), CERTIFICATE))
    with_plugins = main.settings_text(
        MailPorts(1, 2, 3, 4), MailPorts(5, 6, 7, 8), CERTIFICATE, PluginPorts(9, 10), MailPorts(11, 12, 13, 14)
    )
    settings = tomllib.loads(with_plugins)
    imaps, pop3s = settings["listeners"].pop("imaps-plugins"), settings["listeners"].pop("pop3s-plugins")
    assert settings["listeners"] == plain["listeners"]
    assert settings["servers"] == plain["servers"] | {"public": settings["servers"]["public"]}
    assert settings["servers"]["public"]["imap"] == "127.0.0.1:11"
    assert (imaps["addresses"], imaps["tls"], imaps["server"]) == (["127.0.0.1:9"], "implicit", "dovecot")
    assert (pop3s["addresses"], pop3s["tls"], pop3s["server"]) == (["127.0.0.1:10"], "implicit", "dovecot")
    assert imaps["plugins"]["public_folders"] == {"store": "public", "root": "Public"}
    assert set(imaps["plugins"]) == set(plugins.NAMES)
    assert set(pop3s["plugins"]) == {"meeting_links"}


def test_the_plugins_are_there_only_if_all_of_them_are(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(*names: str) -> None:
        entries = [EntryPoint(name, "nowhere:Plugin", "portico.plugins") for name in names]
        monkeypatch.setattr(plugins, "entry_points", lambda group: [entry for entry in entries if entry.group == group])

    found(*plugins.NAMES, "client_allow_list")
    assert plugins.installed()
    found("meeting_links")
    assert not plugins.installed()
    found()
    assert not plugins.installed()


def test_no_two_of_its_listeners_want_the_same_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "is_free", lambda port: False)
    for base in (main.PORTS_RANGE.start, main.DEFAULT_BASE, main.PORTS_RANGE.stop - 1):
        ports = main.taken(base)
        assert len(set(ports)) == len(ports) == 10
        assert max(ports) < 65536


def test_what_a_killed_run_left_is_taken_away_and_what_is_in_use_is_not(tmp_path: Path) -> None:
    left = tmp_path / f"{PREFIX}left"
    left.mkdir()
    (left / "lock").touch()
    other = tmp_path / "something-else"
    other.mkdir()
    with workplace(tmp_path) as mine:
        assert not left.exists()
        assert other.exists()
        assert sweep(tmp_path) == 0
        assert mine.exists()
    assert not mine.exists()


def test_a_child_and_its_children_end_with_stop(tmp_path: Path) -> None:
    child = Child(["sh", "-c", "sleep 100 & echo $!; wait"], log=tmp_path / "log")
    child.start()
    wait_until("the child", lambda: (tmp_path / "log").read_text().strip().isdigit(), seconds=60)
    grandchild = int((tmp_path / "log").read_text())
    assert child.running
    child.stop()
    assert not child.running
    status = Path(f"/proc/{grandchild}/status")
    wait_until("its end", lambda: not status.exists() or "State:\tZ" in status.read_text(), seconds=60)


def test_a_child_is_started_only_once(tmp_path: Path) -> None:
    with Child(["sleep", "100"], log=tmp_path / "log") as child:
        with pytest.raises(AssertionError):
            child.start()
        assert child.running


def test_waiting_ends_at_once_when_the_process_has_ended() -> None:
    with pytest.raises(DemoError, match="ended before it answered"):
        wait_until("It", lambda: False, seconds=60, alive=lambda: False)
