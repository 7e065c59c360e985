"""A settings file that is good, and every way in which one is not."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from portico.config.document import parse_document
from portico.config.load import load, read, understand
from portico.config.settings import Portico
from portico.config.units import MINUTES
from portico.errors import Secret, SettingsError
from portico.tls.issue import issue_into

GOOD = """\
[servers.mail]
imap = "127.0.0.1:143"
pop3 = "127.0.0.1:110"

[listeners.imaps]
protocol = "imap"
addresses = ["127.0.0.1:1993"]
certificate = "server.pem"
key = "server.key"
server = "mail"
"""


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a certificate and its key."""
    directory = tmp_path_factory.mktemp("certificates")
    issue_into(directory, ["localhost"])
    return directory


def settings_of(text: str, directory: Path) -> Portico:
    return understand(parse_document("portico.toml", text), directory).settings


def problems_of(text: str, directory: Path) -> list[str]:
    with pytest.raises(SettingsError) as caught:
        understand(parse_document("portico.toml", text), directory)
    return caught.value.problems


def warnings_of(text: str, directory: Path) -> list[str]:
    return understand(parse_document("portico.toml", text), directory).warnings


def with_server(line: str) -> str:
    """GOOD with one more line in [servers.mail], which is line 4."""
    return GOOD.replace('pop3 = "127.0.0.1:110"\n', f'pop3 = "127.0.0.1:110"\n{line}\n')


def with_listener(lines: str) -> str:
    """GOOD with more lines at the end, from line 11 on."""
    return GOOD + lines + "\n"


def replaced(old: str, new: str) -> str:
    assert old in GOOD
    return GOOD.replace(old, new)


def test_a_good_file_gives_settings_with_paths_from_its_own_directory(made: Path) -> None:
    (made / "portico.toml").write_text(GOOD)
    settings = load(made / "portico.toml")
    listener = settings.listeners["imaps"]
    assert settings.servers["mail"].imap == "127.0.0.1:143"
    assert (listener.certificate, listener.key) == (str(made / "server.pem"), str(made / "server.key"))
    assert (listener.tls, listener.idle_timeout, settings.limits.sessions) == ("implicit", 31 * MINUTES, 20000)
    assert read(made / "portico.toml").warnings == []


def test_units_secrets_routes_and_plugin_options_are_read(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER", "geheim")
    text = with_server(
        'master_user = "m"\nmaster_password = {env = "MASTER"}\nfingerprint = "' + ":".join(["AB"] * 32) + '"\ntls = "starttls"'
    )
    text += """\
timeouts.idle = "45m"
limits.line = "1MiB"
[[listeners.imaps.routes]]
users = ["*@example.org"]
server = "mail"
user = "{local}"
[listeners.imaps.plugins.notice]
text = "hello"
[plugins.other]
n = 1
"""
    settings = settings_of(text, made)
    listener = settings.listeners["imaps"]
    assert settings.servers["mail"].master_password == Secret("geheim")
    assert settings.servers["mail"].fingerprint == "ab" * 32
    assert (listener.idle_timeout, listener.limits.line, listener.routes[0].user) == (45 * MINUTES, 1 << 20, "{local}")
    assert (listener.plugins, settings.plugins) == ({"notice": {"text": "hello"}}, {"other": {"n": 1}})


# Each: the file, and what exactly is said. One mistake in the file is one line.
ONE_MISTAKE = {
    "an unknown key has the near name": (
        with_server("verfy = true"),
        "portico.toml:4: servers.mail.verfy: unknown key; did you mean verify",
    ),
    "a dash for an underscore": (
        with_server('ca-file = "x"'),
        "portico.toml:4: servers.mail.ca-file: unknown key; did you mean ca_file",
    ),
    "a key in the wrong section": (
        with_server('mechanisms = ["PLAIN"]'),
        "portico.toml:4: servers.mail.mechanisms: unknown key here; it belongs to [listeners.<name>]",
    ),
    "a key like no other": (
        "zzz = 1\n" + GOOD,
        "portico.toml:1: zzz: unknown key; possible: " + ", ".join(sorted(Portico.model_fields)),
    ),
    "a section misspelt is not missing as well": (
        GOOD.replace("[servers.mail]", "[server.mail]"),
        "portico.toml:1: server: unknown key; did you mean servers",
    ),
    "a required key misspelt is not missing as well": (
        replaced("protocol =", "protocoll ="),
        "portico.toml:6: listeners.imaps.protocoll: unknown key; did you mean protocol",
    ),
    "a required key that is missing": (
        replaced('protocol = "imap"\n', ""),
        'portico.toml:5: listeners.imaps.protocol: is missing; possible: "imap" or "pop3"',
    ),
    "a choice misspelt": (
        with_server('tls = "startls"'),
        'portico.toml:4: servers.mail.tls: found "startls"; possible: "none", "starttls" or "implicit"; did you mean starttls',
    ),
    "a time without unit": (
        with_listener("timeouts.login = 30"),
        'portico.toml:11: listeners.imaps.timeouts.login: found 30; a time with its unit is expected, as "30s", "5m" or "2h"',
    ),
    "a time as a float": (
        with_listener("timeouts.login = 30.5"),
        'portico.toml:11: listeners.imaps.timeouts.login: found 30.5; a time with its unit is expected, as "30s", "5m" or "2h"',
    ),
    "a time of nothing": (
        with_listener('timeouts.login = "0s"'),
        'portico.toml:11: listeners.imaps.timeouts.login: found "0s"; must be more than 0',
    ),
    "a size in unknown units": (
        with_listener('limits.line = "64KB!"'),
        'portico.toml:11: listeners.imaps.limits.line: found "64KB!"; a size is expected, as "64KiB", "10MB" or a number of octets',
    ),
    "a count below its least": (
        with_listener("limits.wrong_logins = 0"),
        "portico.toml:11: listeners.imaps.limits.wrong_logins: found 0; must be at least 1",
    ),
    "a number as text": (
        with_listener('limits.wrong_logins = "5"'),
        'portico.toml:11: listeners.imaps.limits.wrong_logins: found "5"; possible: a whole number',
    ),
    "a boolean as text": (
        with_listener('plain_login = "yes"'),
        'portico.toml:11: listeners.imaps.plain_login: found "yes"; possible: true or false',
    ),
    "a table for a text": (
        with_server("name = {a = 1}"),
        "portico.toml:4: servers.mail.name: found a table; possible: a text",
    ),
    "a text for a list": (
        replaced('["127.0.0.1:1993"]', '"127.0.0.1:1993"'),
        'portico.toml:7: listeners.imaps.addresses: found "127.0.0.1:1993"; possible: a list of "host:port", "[v6]:port" or "unix:/path"',
    ),
    "a number in a list of texts": (
        with_listener("mechanisms = [\n  'PLAIN',\n  3,\n]"),
        "portico.toml:13: listeners.imaps.mechanisms[1]: found 3; possible: a text",
    ),
    "a text for a table": (
        GOOD + 'timeouts = "30s"\n',
        'portico.toml:11: listeners.imaps.timeouts: found "30s"; possible: a table',
    ),
    "no listener": (GOOD.partition("[listeners")[0], "portico.toml:1: listeners: is missing; possible: a table"),
    "listeners that are empty": (
        GOOD.partition("[listeners")[0] + "[listeners]\n",
        "portico.toml:5: listeners: is empty; at least one is needed",
    ),
    "no address to listen on": (
        replaced('["127.0.0.1:1993"]', "[]"),
        "portico.toml:7: listeners.imaps.addresses: is empty; at least one is needed",
    ),
    "a server without address": (
        GOOD + "[servers.empty]\n",
        "portico.toml:11: servers.empty: has no address; possible: imap, pop3 or both",
    ),
    "a server's address without port": (
        replaced('pop3 = "127.0.0.1:110"', 'pop3 = "127.0.0.1"'),
        'portico.toml:3: servers.mail.pop3: found "127.0.0.1"; an address with its port is expected, as "host:port", "[v6]:port" or "unix:/path"',
    ),
    "an address to listen on in a wrong form": (
        replaced("127.0.0.1:1993", "::1:1993"),
        'portico.toml:7: listeners.imaps.addresses[0]: found "::1:1993"; an IPv6 address stands in brackets, as "[::1]:993"',
    ),
    "the same address twice": (
        replaced('["127.0.0.1:1993"]', '["127.0.0.1:1993", "127.0.0.1:1993"]'),
        'portico.toml:7: listeners.imaps.addresses[1]: found "127.0.0.1:1993"; this listener has "127.0.0.1:1993" already',
    ),
    "an address and all addresses": (
        GOOD + '[listeners.pop]\nprotocol = "pop3"\naddresses = ["0.0.0.0:1993"]\ntls = "none"\nserver = "mail"\nplain_login = true\n',
        'portico.toml:13: listeners.pop.addresses[0]: found "0.0.0.0:1993"; listener "imaps" has "127.0.0.1:1993" already',
    ),
    "a listener that leads nowhere": (
        replaced('server = "mail"\n', ""),
        "portico.toml:5: listeners.imaps: leads nowhere; possible: server, routes, lookups or several of them",
    ),
    "a server that does not exist": (
        replaced('server = "mail"', 'server = "mial"'),
        'portico.toml:10: listeners.imaps.server: found "mial", which is no server; possible: mail; did you mean mail',
    ),
    "a route to a server that does not exist": (
        GOOD + '[[listeners.imaps.routes]]\nusers = ["*"]\nserver = "other"\n',
        'portico.toml:13: listeners.imaps.routes[0].server: found "other", which is no server; possible: mail',
    ),
    "a server without an address for the protocol": (
        replaced('imap = "127.0.0.1:143"\n', ""),
        'portico.toml:9: listeners.imaps.server: server "mail" has no imap address; set servers.mail.imap',
    ),
    "a route for nobody": (
        GOOD + '[[listeners.imaps.routes]]\nusers = []\nserver = "mail"\n',
        "portico.toml:12: listeners.imaps.routes[0].users: is empty; at least one is needed",
    ),
    "an empty pattern": (
        GOOD + '[[listeners.imaps.routes]]\nusers = ["a", ""]\nserver = "mail"\n',
        'portico.toml:12: listeners.imaps.routes[0].users[1]: is empty; possible: a name or a pattern, as "alice", "*@example.org" or "*"',
    ),
    "a placeholder misspelt": (
        GOOD + '[[listeners.imaps.routes]]\nusers = ["*"]\nserver = "mail"\nuser = "{usr}"\n',
        'portico.toml:14: listeners.imaps.routes[0].user: found "{usr}"; possible: text with "{user}", "{local}" and "{domain}"; did you mean user',
    ),
    "a brace left open": (
        GOOD + '[[listeners.imaps.routes]]\nusers = ["*"]\nserver = "mail"\nuser = "{user"\n',
        'portico.toml:14: listeners.imaps.routes[0].user: found "{user"; a brace is not closed; possible: text with "{user}", "{local}" and "{domain}"',
    ),
    "TLS without a certificate": (
        replaced('certificate = "server.pem"\nkey = "server.key"\n', ""),
        'portico.toml:5: listeners.imaps.certificate: is needed with tls = "implicit"; "portico certs new" makes one for trying things out',
    ),
    "a key without a certificate": (
        replaced('certificate = "server.pem"\n', 'tls = "none"\nplain_login = true\n'),
        "portico.toml:10: listeners.imaps.key: needs certificate",
    ),
    "a certificate without its key": (
        replaced('key = "server.key"\n', ""),
        "portico.toml:8: listeners.imaps.certificate: {made}/server.pem: is no PEM file with a certificate and its key (without passphrase)",
    ),
    "the key of another certificate": (
        replaced("server.key", "ca.key"),
        "portico.toml:8: listeners.imaps.certificate: {made}/server.pem: the key is not the key of this certificate",
    ),
    "a certificate that is none": (
        replaced("server.pem", "server.key"),
        "portico.toml:8: listeners.imaps.certificate: {made}/server.key and {made}/server.key: are not a PEM certificate and its key (without passphrase)",
    ),
    "a file that is not there": (
        replaced("server.pem", "nowhere.pem"),
        "portico.toml:8: listeners.imaps.certificate: {made}/nowhere.pem: No such file or directory",
    ),
    "a directory for a file": (replaced('"server.key"', '"."'), "portico.toml:9: listeners.imaps.key: {made}: is not a file"),
    "no name of a file": (replaced('"server.key"', '""'), 'portico.toml:9: listeners.imaps.key: found ""; the name of a file is expected'),
    "authorities that are none": (
        with_server('tls = "implicit"\nca_file = "server.key"'),
        "portico.toml:5: servers.mail.ca_file: {made}/server.key: is no PEM file with certificates of authorities",
    ),
    "client certificates without authorities": (
        with_listener('client_certificates = "optional"'),
        "portico.toml:11: listeners.imaps.client_certificates: needs client_ca_file",
    ),
    "a master user without password": (
        with_server('master_user = "m"'),
        "portico.toml:4: servers.mail.master_user: needs master_password",
    ),
    "a master password without user": (
        with_server('master_password = "geheim"'),
        "portico.toml:4: servers.mail.master_password: needs master_user",
    ),
    "a fingerprint of another kind": (
        with_server('tls = "implicit"\nfingerprint = "aabb"'),
        'portico.toml:5: servers.mail.fingerprint: found "aabb"; the SHA-256 of a certificate is expected: 64 hex digits, '
        'as "portico certs show" prints it',
    ),
    "TLS over a unix socket without a name": (
        replaced('pop3 = "127.0.0.1:110"', 'pop3 = "unix:/run/pop3"\ntls = "starttls"'),
        "portico.toml:3: servers.mail.pop3: TLS over a unix socket needs name, fingerprint or verify = false: there is no host to check",
    ),
    "a mechanism in small letters": (
        with_listener('mechanisms = ["plain"]'),
        'portico.toml:11: listeners.imaps.mechanisms[0]: found "plain"; possible: PLAIN, LOGIN, XOAUTH2, OAUTHBEARER, EXTERNAL, '
        "or the name of one that the server knows; did you mean PLAIN",
    ),
    "a mechanism misspelt": (
        with_listener('mechanisms = ["PLIAN"]'),
        'portico.toml:11: listeners.imaps.mechanisms[0]: found "PLIAN"; possible: PLAIN, LOGIN, XOAUTH2, OAUTHBEARER, EXTERNAL, '
        "or the name of one that the server knows; did you mean PLAIN",
    ),
    "a mechanism twice": (
        with_listener('mechanisms = ["PLAIN", "PLAIN"]'),
        'portico.toml:11: listeners.imaps.mechanisms[1]: found "PLAIN"; stands there twice',
    ),
    "EXTERNAL without a master user": (
        with_listener('mechanisms = ["EXTERNAL"]\nclient_certificates = "required"\nclient_ca_file = "ca.pem"'),
        'portico.toml:11: listeners.imaps.mechanisms[0]: EXTERNAL needs a master user: server "mail" has none; '
        "set master_user and master_password in servers.mail",
    ),
    "EXTERNAL without client certificates": (
        with_server('master_user = "m"\nmaster_password = "p"') + 'mechanisms = ["EXTERNAL"]\n',
        "portico.toml:13: listeners.imaps.mechanisms[0]: EXTERNAL needs client certificates; "
        'possible: client_certificates = "optional" or "required"',
    ),
    "a relayed mechanism with a master user": (
        with_server('master_user = "m"\nmaster_password = "p"') + 'mechanisms = ["CRAM-MD5"]\n',
        'portico.toml:13: listeners.imaps.mechanisms[0]: found "CRAM-MD5"; is relayed to the server, which cannot be done with its master_user',
    ),
    "a relayed mechanism with two servers": (
        GOOD
        + 'mechanisms = ["SCRAM-SHA-256"]\n[[listeners.imaps.routes]]\nusers = ["*"]\nserver = "two"\n[servers.two]\nimap = "127.0.0.1:144"\n',
        'portico.toml:11: listeners.imaps.mechanisms[0]: found "SCRAM-SHA-256"; is relayed to the server, which must be the only one: '
        "this listener has two, mail",
    ),
    "a mechanism that is bound to the channel": (
        with_listener('mechanisms = ["SCRAM-SHA-256-PLUS"]'),
        'portico.toml:11: listeners.imaps.mechanisms[0]: found "SCRAM-SHA-256-PLUS"; a mechanism with channel binding cannot be relayed; '
        "possible: PLAIN, LOGIN, XOAUTH2, OAUTHBEARER, EXTERNAL, or the name of one that the server knows",
    ),
    "APOP for IMAP": (with_listener("apop = true"), 'portico.toml:11: listeners.imaps.apop: is for protocol = "pop3"'),
    "APOP with two servers": (
        GOOD.replace('"imap"', '"pop3"')
        + 'apop = true\n[[listeners.imaps.routes]]\nusers = ["*"]\nserver = "two"\n[servers.two]\npop3 = "127.0.0.1:144"\n',
        "portico.toml:11: listeners.imaps.apop: is relayed to the server, which must be the only one: this listener has two, mail",
    ),
    "a greeting that begins like a response code": (
        with_listener('greeting = "[ALERT] hello"'),
        'portico.toml:11: listeners.imaps.greeting: possible: 1 to 200 printable ASCII characters that do not begin with "[" or a space',
    ),
    "a greeting that looks like APOP": (
        GOOD.replace('"imap"', '"pop3"') + 'greeting = "hello <1@x>"\n',
        'portico.toml:11: listeners.imaps.greeting: has "<", which a POP3 client takes for the beginning of an APOP timestamp (RFC 1939 7)',
    ),
    "a log in a directory that is not there": (
        GOOD + '[log]\nfile = "not/there.log"\n',
        "portico.toml:12: log.file: {made}/not/there.log: the directory does not exist",
    ),
    "a memory of annotations in a directory that is not there": (
        GOOD + '[annotations]\nfile = "not/there.sqlite"\n',
        "portico.toml:12: annotations.file: {made}/not/there.sqlite: the directory does not exist",
    ),
    "a trace into nowhere": (
        GOOD + '[trace]\ndirectory = "nowhere"\n',
        "portico.toml:12: trace.directory: {made}/nowhere: is not a directory; it must be there before the start",
    ),
    "a trace of users to nowhere": (GOOD + '[trace]\nusers = ["*"]\n', "portico.toml:12: trace.users: needs trace.directory"),
    "a log format misspelt": (
        GOOD + '[log]\nformat = "jsn"\n',
        'portico.toml:12: log.format: found "jsn"; possible: "auto", "json", "console" or "journal"; did you mean json',
    ),
    "options of a plugin that are no table": (
        GOOD + "[plugins]\nnotice = true\n",
        "portico.toml:12: plugins.notice: found true; possible: a table",
    ),
}


@pytest.mark.parametrize("case", ONE_MISTAKE)
def test_one_mistake_is_one_line(case: str, made: Path) -> None:
    text, expected = ONE_MISTAKE[case]
    assert problems_of(text, made) == [expected.replace("{made}", str(made))]


def test_all_mistakes_are_said_at_once_in_the_order_of_the_file(made: Path) -> None:
    text = """\
plugns = 1
[servers.mail]
imap = "127.0.0.1"
verfy = false
[listeners.imaps]
protocol = "imap"
adresses = ["127.0.0.1:993"]
server = "mial"
timeouts.login = 5
mechanisms = ["PLIAN"]
[[listeners.imaps.routes]]
users = ["*"]
server = "other"
[listeners.pop]
addresses = ["127.0.0.1:1993", "[::1]"]
tls = "sometimes"
server = "mail"
certificate = "nowhere.pem"
"""
    found = [line.split(": ")[:2] for line in problems_of(text, made)]
    assert found == [
        ["portico.toml:1", "plugns"],
        ["portico.toml:3", "servers.mail.imap"],
        ["portico.toml:4", "servers.mail.verfy"],
        ["portico.toml:5", "listeners.imaps.certificate"],
        ["portico.toml:7", "listeners.imaps.adresses"],
        ["portico.toml:8", "listeners.imaps.server"],
        ["portico.toml:9", "listeners.imaps.timeouts.login"],
        ["portico.toml:10", "listeners.imaps.mechanisms[0]"],
        ["portico.toml:13", "listeners.imaps.routes[0].server"],
        ["portico.toml:14", "listeners.pop.protocol"],
        ["portico.toml:15", "listeners.pop.addresses[1]"],
        ["portico.toml:16", "listeners.pop.tls"],
        ["portico.toml:18", "listeners.pop.certificate"],
    ]


def test_a_wrong_element_of_a_list_hides_no_other_mistake_in_it(made: Path) -> None:
    text = """\
[servers.mail]
imap = "127.0.0.1:143"
[listeners.imap]
protocol = "imap"
addresses = ["nonsense", 5, "127.0.0.1:1", "127.0.0.1:1", "[::1]", 7]
tls = "none"
server = "mail"
mechanisms = ["PLAIN", 5, "PLIAN", true, "PLAIN"]
routes = [5, {users = ["", 4], server = "mial"}, {users = [], server = "mail", user = "{usr}"}, {server = "mial", oops = 1}, {users = ["*"]}]
"""
    found = sorted(line.split(": ")[1].removeprefix("listeners.imap.") for line in problems_of(text, made))
    assert found == [
        "addresses[0]", "addresses[1]", "addresses[3]", "addresses[4]", "addresses[5]",
        "mechanisms[1]", "mechanisms[2]", "mechanisms[3]", "mechanisms[4]",
        "routes[0]", "routes[1].server", "routes[1].users[0]", "routes[1].users[1]", "routes[2].user", "routes[2].users",
        "routes[3].oops", "routes[3].server", "routes[3].users", "routes[4].server",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "line",
    [
        'master_password = {fiel = "geheim"}',
        'master_password = ["geheim"]',
        'master_password = {file = "x", env = "geheim"}',
        'master_password = "geheim\\u0000"',
        'master_pasword = "geheim"',
        'password = "geheim"',
        'name = {password = "geheim"}',
        'name = ["geheim"]',
        'imap = "user:geheim@host:143"\nmaster_user = 1',
        'master_password = "geheim"\nmaster_user = ""',
        'master_password = "geheim"\nmaster_user = "m"\nx = 1',
        'master_password = "geheim"\nx = ',
        'master_password = "geheim',
    ],
)
def test_no_mistake_shows_a_secret(line: str, made: Path) -> None:
    text = with_server(line).replace('imap = "127.0.0.1:143"\n', "", 1) if line.startswith("imap") else with_server(line)
    with pytest.raises(SettingsError) as caught:
        understand(parse_document("portico.toml", text), made)
    error = caught.value
    everything = "".join(traceback.format_exception(error)) + str(error) + repr(error)
    assert "geheim" not in everything
    assert (error.__cause__, error.__context__) == (None, None)


def test_plugin_options_that_are_wrong_are_put_in_the_same_form(made: Path) -> None:
    (made / "plugins.toml").write_text(GOOD + "[listeners.imaps.plugins.notice]\ntext = 5\n")
    document = read(made / "plugins.toml").document
    path = ("listeners", "imaps", "plugins", "notice", "text")
    assert document.locate(path) == 12
    assert document.problem(path, "found 5") == f"{made}/plugins.toml:12: listeners.imaps.plugins.notice.text: found 5"


@pytest.mark.parametrize(
    ("text", "warning"),
    [
        (
            GOOD.replace("127.0.0.1:1993", "0.0.0.0:1993") + 'tls = "starttls"\nplain_login = true\n',
            "portico.toml:12: listeners.imaps.plain_login: passwords may come to 0.0.0.0:1993 without TLS, for all on the way to read",
        ),
        (
            GOOD.replace("127.0.0.1:143", "mail.example.org:143"),
            'portico.toml:2: servers.mail.imap: passwords go to mail.example.org:143 without TLS; possible: tls = "implicit" or "starttls"',
        ),
        (
            with_server('tls = "implicit"\nverify = false'),
            "portico.toml:5: servers.mail.verify: the server's certificate is not checked: anybody on the way can read and change mail",
        ),
        (with_server('name = "x"'), 'portico.toml:4: servers.mail.name: has no effect with tls = "none"'),
        (
            GOOD.replace('certificate = "server.pem"\nkey = "server.key"', 'tls = "none"'),
            "portico.toml:8: listeners.imaps.tls: nobody can sign in: there is no TLS, and plain_login is false",
        ),
        (
            GOOD + 'tls = "none"\nplain_login = true\n',
            'portico.toml:8: listeners.imaps.certificate: has no effect with tls = "none"',
        ),
        (
            with_listener('limits.literal_before_login = "2MiB"'),
            "portico.toml:11: listeners.imaps.limits.literal_before_login: a client that has not signed in may have more held than held "
            "allows one that has: line_before_login and literal_before_login come to 2162688 octets, held is 1048576",
        ),
        (
            with_listener('limits.held = "100KiB"'),
            "portico.toml:11: listeners.imaps.limits.held: a client that has not signed in may have more held than held "
            "allows one that has: line_before_login and literal_before_login come to 131072 octets, held is 102400",
        ),
        (
            with_listener('limits.line = "2MiB"'),
            "portico.toml:11: listeners.imaps.limits.line: where a plugin is interested in a command, one of more than held (1048576 octets) "
            "is refused all the same",
        ),
    ],
)
def test_what_is_probably_not_wanted_is_a_warning(text: str, warning: str, made: Path) -> None:
    assert warnings_of(text, made) == [warning]


def test_a_plain_login_on_loopback_alone_is_no_matter(made: Path) -> None:
    assert warnings_of(GOOD + 'tls = "starttls"\nplain_login = true\n', made) == []


def test_a_certificate_that_ends_soon_is_a_warning(tmp_path: Path) -> None:
    issue_into(tmp_path, ["localhost"], days=3)
    (warning,) = warnings_of(GOOD, tmp_path)
    assert "expires on" in warning
    assert warning.endswith("in 2 days")


def test_keys_and_passwords_that_everybody_may_read_are_warnings(tmp_path: Path) -> None:
    issue_into(tmp_path, ["localhost"])
    (tmp_path / "server.key").chmod(0o644)
    file = tmp_path / "portico.toml"
    file.write_text(with_server('master_user = "m"\nmaster_password = "p"'))
    file.chmod(0o644)
    first, second = read(file).warnings
    assert first == f"{file}:1: everybody on this machine may read this file, which has to do with passwords; chmod o-r"
    assert "listeners.imaps.key" in second
    assert "everybody on this machine may read the key" in second


def test_port_0_may_be_listened_on_twice(made: Path) -> None:
    settings = settings_of(replaced('["127.0.0.1:1993"]', '["127.0.0.1:0", "127.0.0.1:0"]'), made)
    assert len(settings.listeners["imaps"].addresses) == 2


def test_ipv4_and_ipv6_do_not_disturb_each_other_and_localhost_is_both(made: Path) -> None:
    assert settings_of(replaced('["127.0.0.1:1993"]', '["0.0.0.0:1993", "[::]:1993"]'), made)
    (problem,) = problems_of(replaced('["127.0.0.1:1993"]', '["localhost:1993", "[::]:1993"]'), made)
    assert 'this listener has "localhost:1993" already' in problem


def test_a_mechanism_that_nobody_here_knows_is_relayed_to_the_only_server(made: Path) -> None:
    text = with_listener('mechanisms = ["PLAIN", "X-COMPANY-SSO", "SCRAM-SHA-384"]')
    assert settings_of(text, made).listeners["imaps"].mechanisms[1] == "X-COMPANY-SSO"


def test_external_with_all_that_it_needs_is_good(made: Path) -> None:
    text = with_server('master_user = "m"\nmaster_password = "p"')
    text += 'mechanisms = ["EXTERNAL"]\nclient_certificates = "required"\nclient_ca_file = "ca.pem"\n'
    assert settings_of(text, made).listeners["imaps"].client_ca_file == str(made / "ca.pem")
