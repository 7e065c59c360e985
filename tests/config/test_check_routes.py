"""Groups, lookups and what in them does not fit together."""

from __future__ import annotations

from pathlib import Path

import pytest
from portico.config.document import parse_document
from portico.config.load import read, understand
from portico.config.settings import Portico
from portico.errors import Secret, SettingsError

GOOD = """\
[servers.a]
imap = "127.0.0.1:143"
[servers.b]
imap = "127.0.0.1:144"
test_user = "probe"
test_password = "of the probe"
[servers.p]
pop3 = "127.0.0.1:110"
[groups.both]
sticky = false
members = [{server = "a", order = 1}, {server = "b", weight = 3}]
[health]
failures = 3
rest = "10s"
[sql.staff]
url = "postgresql://portico:hidden@127.0.0.1/mail"
query = "SELECT server FROM users WHERE name = :user AND proto = :protocol AND x::text = 'y'"
[auth_http.portal]
url = "http://127.0.0.1:8080/auth"
headers = [{name = "X-Auth-Key", value = "hidden"}]
template = "a"
[listeners.imap]
protocol = "imap"
addresses = ["127.0.0.1:1143"]
tls = "none"
plain_login = true
server = "both"
lookups = ["staff", "portal"]
"""


def understood(text: str) -> Portico:
    return understand(parse_document("portico.toml", text), Path()).settings


def test_good_settings_are_taken() -> None:
    settings = understood(GOOD)
    assert [member.weight for member in settings.groups["both"].members] == [1, 3]
    assert (settings.health.failures, settings.health.rest, settings.sql["staff"].ttl) == (3, 10.0, 60.0)
    assert settings.auth_http["portal"].headers[0].value == Secret("hidden")


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('server = "a", order = 1', 'server = "aa"', 'groups.both.members[0].server: found "aa", which is no server; possible: a, b, p'),
        ('server = "a", order = 1', 'server = "b"', 'groups.both.members[1].server: found "b"; stands there twice'),
        ('server = "a", order = 1', 'server = "p"', 'listeners.imap.server: server "p" of group "both" has no imap address'),
        ("[groups.both]", "[groups.a]", "groups.a: a server has the same name"),
        ('server = "both"', 'server = "bot"', 'listeners.imap.server: found "bot", which is no server; possible: a, b, both, p'),
        ('"staff", "portal"', '"staf"', 'listeners.imap.lookups[0]: found "staf"; possible: portal, staff'),
        ('"staff", "portal"', '"staff", "staff"', 'listeners.imap.lookups[1]: found "staff"; stands there twice'),
        ("postgresql://", "oracle://", "sql.staff.url: a URL is expected that begins with sqlite://, postgresql://"),
        (":user", ":usr", "sql.staff.query: found :usr; possible: :user, :local, :domain, :protocol"),
        ("http://127.0.0.1:8080/auth", "ftp://x/", 'auth_http.portal.url: found "ftp://x/"; a URL is expected'),
        ("http://127.0.0.1:8080/auth", "http://u:p@x/", "auth_http.portal.url: found"),
        ("X-Auth-Key", "Auth-User", 'auth_http.portal.headers[0].name: found "Auth-User"; this one is Portico\'s to say'),
        ("X-Auth-Key", "X Auth", "auth_http.portal.headers[0].name: found"),
        ('template = "a"', 'template = "both"', 'auth_http.portal.template: found "both", which is no server; possible: a, b, p'),
        ('test_password = "of the probe"\n', "", "servers.b.test_user: needs test_password"),
        ("plain_login = true", 'plain_login = true\nmechanisms = ["CRAM-MD5"]', "this listener has a, b, those of staff, those of portal"),
    ],
)
def test_each_mistake_is_a_line(old: str, new: str, problem: str) -> None:
    assert old in GOOD
    with pytest.raises(SettingsError) as caught:
        understood(GOOD.replace(old, new, 1))
    assert any(problem in line for line in caught.value.problems), caught.value.problems
    assert not any("hidden" in line or "of the probe" in line for line in caught.value.problems)


def test_a_file_with_the_password_of_a_database_that_everybody_may_read_is_warned_of(tmp_path: Path) -> None:
    file = tmp_path / "portico.toml"
    file.write_text(GOOD.replace('test_user = "probe"\ntest_password = "of the probe"\n', "").replace("headers =", "# "))
    file.chmod(0o644)
    assert any("chmod o-r" in line for line in read(file).warnings)
    file.chmod(0o640)
    assert not any("chmod o-r" in line for line in read(file).warnings)


def test_passwords_that_leave_the_machine_without_tls_are_warned_of() -> None:
    def said(url: str) -> list[str]:
        text = GOOD.replace("http://127.0.0.1:8080/auth", url)
        return [line.partition("url: ")[2] for line in understand(parse_document("portico.toml", text), Path()).warnings if "url: " in line]

    assert said("http://auth.example.org/auth") == ["passwords go to auth.example.org without TLS; possible: https://"]
    assert said("https://auth.example.org/auth") == said("http://[::1]:8080/auth") == said("http://localhost/auth") == []
