"""Who may come in and speak for whom: what is refused in the settings, and what is warned of."""

from __future__ import annotations

from pathlib import Path

import pytest
from portico.config.load import read
from portico.errors import SettingsError

GOOD = """
[servers.main]
imap = "127.0.0.1:143"

[listeners.imap]
protocol = "imap"
addresses = ["127.0.0.1:1143"]
tls = "none"
server = "main"
"""


def problems(tmp_path: Path, more: str, good: str = GOOD) -> list[str]:
    """The mistakes, without file and line; or, where there are none, the warnings."""
    file = tmp_path / "portico.toml"
    file.write_text(good + more)
    try:
        found = read(file).warnings
    except SettingsError as error:
        found = error.problems
    return [line.partition(": ")[2] for line in found]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ('proxy_protocol = ["10.0.0.1/8"]', "bits behind the prefix"),
        ('proxy_protocol = ["balancer"]', "a network is expected"),
        ('trusted_networks = ["10.0.0.0/33"]', "a network is expected"),
        ('[listeners.imap.timeouts]\nheld = "3m"', "listeners.imap.timeouts.held: is not less than login"),
        ('[penalties]\nexempt = ["webmail"]', "a network is expected"),
        ('[penalties]\nforget = "0s"', "penalties.forget"),
        ('[penalties]\ndelay = "20s"', "penalties.delay: is longer than delay_max (15s)"),
        ("[limits]\nsessions_per_user_and_address = 0", "limits.sessions_per_user_and_address"),
    ],
)
def test_each_mistake_is_called_what_it_is(tmp_path: Path, more: str, said: str) -> None:
    (line,) = problems(tmp_path, more)
    assert said in line


@pytest.mark.parametrize("key", ["proxy_protocol", "trusted_networks"])
def test_a_network_that_is_none_hides_no_other_mistake_of_its_listener(tmp_path: Path, key: str) -> None:
    further = f"""
[penalties]
delay = "20s"
waiting = 0

[listeners.more]
protocol = "imap"
addresses = ["nonsense"]
server = "man"
{key} = ["10.0.0.300"]
"""
    assert {line.partition(": ")[0] for line in problems(tmp_path, further)} == {
        "penalties.delay",
        "penalties.waiting",
        "listeners.more.certificate",
        "listeners.more.addresses[0]",
        "listeners.more.server",
        f"listeners.more.{key}[0]",
    }


def test_a_listener_on_unix_sockets_alone_must_let_unix_sockets_in(tmp_path: Path) -> None:
    good = GOOD.replace("127.0.0.1:1143", f"unix:{tmp_path}/imap")
    (line,) = problems(tmp_path, 'proxy_protocol = ["10.0.0.0/8"]', good)
    assert 'listeners.imap.proxy_protocol: nobody can come in: all addresses are unix sockets; add "unix"' in line
    assert problems(tmp_path, 'proxy_protocol = ["10.0.0.0/8", "unix"]', good) == []


@pytest.mark.parametrize("key", ["proxy_protocol", "trusted_networks"])
@pytest.mark.parametrize("network", ["0.0.0.0/0", "::/0"])
def test_to_believe_everybody_is_warned_of(tmp_path: Path, key: str, network: str) -> None:
    lines = problems(tmp_path, f'plain_login = true\n{key} = ["10.0.0.0/8", "{network}"]')
    assert [f"listeners.imap.{key}[1]" in line and "everybody may say" in line for line in lines] == [True]


def test_behind_a_balancer_that_ends_tls_there_is_nothing_to_warn_of(tmp_path: Path) -> None:
    assert problems(tmp_path, 'proxy_protocol = ["10.0.0.7", "2001:db8::/32"]\ntrusted_networks = ["10.0.0.8"]') == []
    assert "nobody can sign in" in problems(tmp_path, "")[0]
