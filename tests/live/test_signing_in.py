"""Every way of signing in, at a real Dovecot through Portico.

Rule of this file: whoever signs in reads his own mail; whoever may not is told so in the server's words; and of what was secret
nothing is in the log or in the trace.
"""

from __future__ import annotations

import base64
import hashlib
import re
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from portico.demo import dovecot as demo_dovecot
from portico.demo import mailbox
from portico.demo.certificates import Certificates
from portico.demo.dovecot import Dovecot
from portico.demo.mailbox import Folder
from portico.demo.ports import MailPorts
from portico.tls.issue import issue_into

from tests.live import sasl
from tests.live.conftest import Server, lacking
from tests.live.dialogue import Dialogue, eventually
from tests.live.front import Front
from tests.live.people import PASSWORD, load

pytestmark = pytest.mark.live

KEY = b"what Dovecot and whoever makes the tokens know"
LETTERS = mailbox.alice()[0].messages[:3]
QUICK = 'limits.wrong_login_delay = "1ms"\n'
RELAYED = ("SCRAM-SHA-256", "CRAM-MD5", "DIGEST-MD5")

OAUTH_2_3 = """
auth_failure_delay = 0
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {directory}/oauth2.conf
}}
"""
# From 2.4.0 on these mechanisms ask no passdb.
OAUTH_2_4 = """
auth_failure_delay = 0
oauth2 {{
  introspection_mode = local
  username_attribute = sub
  oauth2_local_validation {{
    dict fs {{
      fs posix {{
        prefix = {directory}/keys/
      }}
    }}
  }}
}}
"""


@pytest.fixture(scope="module")
def server(place: Path, certificates: Certificates) -> Iterator[Dovecot]:
    """Dovecot with every mechanism that it has and we carry."""
    program = demo_dovecot.find()
    if program is None or demo_dovecot.missing():
        lacking("not installed: Dovecot (make test installs it)")
    directory = place / "every-mechanism"
    keys = directory / "keys" / "default" / "HS256"
    keys.mkdir(parents=True)
    (keys / "default").write_bytes(base64.b64encode(KEY))
    (directory / "oauth2.conf").write_text(
        f"introspection_mode = local\nusername_attribute = sub\nlocal_validation_key_dict = fs:posix:prefix={directory}/keys/\n"
    )
    more = OAUTH_2_3 if demo_dovecot.version(program) < (2, 4) else OAUTH_2_4
    mechanisms = " ".join([*sasl.MECHANISMS, "APOP"]).lower()
    running = Dovecot(
        directory,
        users={"alice": PASSWORD, "bob": "builder"},
        masters=mailbox.MASTERS,
        certificate=certificates.certificate,
        key=certificates.key,
        mechanisms=mechanisms,
        more=more.format(directory=directory),
    )
    with running:
        load(running, "alice", [Folder("INBOX", LETTERS)])
        yield running


@pytest.fixture(scope="module")
def front(server: Dovecot, place: Path, certificates: Certificates) -> Iterator[Front]:
    """Portico with all that it speaks or relays, and everything traced."""
    traces = place / "traces"
    traces.mkdir()
    running = Front(
        place / "every-front",
        server.ports,
        certificates,
        "starttls",
        listener_settings=QUICK + f"mechanisms = {[*sasl.MECHANISMS]}\n".replace("'", '"'),
        pop3_settings="apop = true\n",
        more=f'[trace]\ndirectory = "{traces}"\nusers = ["*"]\n\n[log]\nlevel = "debug"\n',
    ).start()
    try:
        assert eventually(lambda: len(running.events("server.probed")) >= 2)
        yield running
    finally:
        running.stop()


def connect(end: Dovecot | Front, protocol: str, certificates: Certificates) -> tuple[Dialogue, bytes]:
    """A connection with TLS, and its greeting."""
    talk = Dialogue(getattr(end.ports, protocol + "s"), authority=certificates.authority, implicit=True)
    return talk, talk.line()


def letters(talk: Dialogue, protocol: str) -> int:
    """How many messages are in the inbox of whoever has signed in."""
    if protocol == "imap":
        answer = talk.command(b"s STATUS INBOX (MESSAGES)")
        found = re.search(rb"\(MESSAGES (\d+)\)", answer)
    else:
        talk.send(b"STAT\r\n")
        found = re.match(rb"\+OK (\d+) ", answer := talk.line())
    assert found is not None, answer
    return int(found[1])


def words(answer: bytes) -> bytes:
    """What is said to people, and the code before it."""
    return answer.rstrip().split(b" ", 1)[1].removeprefix(b"NO ")


def nothing_secret(front: Front, *secrets: str) -> None:
    """Neither as it is nor in base64, in no log and no trace."""
    written = front.log.read_bytes() + b"".join(path.read_bytes() for path in (front.directory.parent / "traces").glob("*"))
    assert b"session" in written
    for secret in secrets:
        assert secret.encode() not in written
        # In base64 it may begin at each of three places.
        for before in range(3):
            inner = base64.b64encode(b"\0" * before + secret.encode())[4 if before else 0 :].rstrip(b"=")[:-1]
            assert inner not in written


WAYS_IN = [
    (mechanism, initial) for mechanism in sasl.MECHANISMS for initial in (False, True) if not (initial and mechanism in sasl.SERVER_FIRST)
]


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
@pytest.mark.parametrize(("mechanism", "initial"), WAYS_IN)
def test_a_mechanism_signs_in(
    mechanism: str, initial: bool, protocol: str, server: Dovecot, front: Front, certificates: Certificates
) -> None:
    secret = sasl.token("alice", KEY) if mechanism in sasl.BEARER else PASSWORD
    talk, _ = connect(front, protocol, certificates)
    with talk:
        answer = sasl.authenticate(talk, protocol, mechanism, "alice", secret, initial=initial)
        assert answer.startswith((b"a OK", b"+OK")), answer
        assert letters(talk, protocol) == len(LETTERS)
    event = [each for each in front.events("login.succeeded") if each["protocol"] == protocol][-1]
    assert event["user"] == "alice"
    assert event["method"] == mechanism
    if mechanism in RELAYED or mechanism in sasl.BEARER:
        # What the server was asked for is what the client said.
        logins = [line for line in server.log.read_text().splitlines() if f"{protocol}-login: Info: Login: user=<alice>" in line]
        assert f"method={mechanism}," in next(line for line in logins if f"session=<{event['session']}>" in line)
    nothing_secret(front, secret)


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
@pytest.mark.parametrize("mechanism", list(sasl.MECHANISMS))
def test_a_wrong_password_is_refused_in_the_servers_words(
    mechanism: str, protocol: str, server: Dovecot, front: Front, certificates: Certificates
) -> None:
    wrong = sasl.token("alice", b"another key") if mechanism in sasl.BEARER else "looking-glass"
    answers = []
    for end in (server, front):
        talk, _ = connect(end, protocol, certificates)
        with talk:
            answers.append(words(sasl.authenticate(talk, protocol, mechanism, "alice", wrong)))
    assert answers[1] == answers[0]
    assert b"uthentication failed" in answers[1]
    assert front.events("login.failed")[-1]["method"] == mechanism
    nothing_secret(front, wrong)


@pytest.mark.parametrize("password", [PASSWORD, "looking-glass"])
def test_login_and_user_answer_as_the_server_does(password: str, server: Dovecot, front: Front, certificates: Certificates) -> None:
    for protocol, said in (("imap", b"a LOGIN alice %b\r\n"), ("pop3", b"USER alice\r\nPASS %b\r\n")):
        answers = []
        for end in (server, front):
            talk, _ = connect(end, protocol, certificates)
            with talk:
                talk.send(said % password.encode())
                lines = [talk.line() for _ in range(1 + (protocol == "pop3"))]
                # Dovecot 2.3 announces the new list before its OK to LOGIN, we in it.
                answers.append(re.sub(rb"\[CAPABILITY [^]]*\] ", b"", lines[-1]))
                if password == PASSWORD:
                    assert letters(talk, protocol) == len(LETTERS)
        assert answers[1] == answers[0]
    nothing_secret(front, password)


@pytest.mark.parametrize("password", [PASSWORD, "looking-glass"])
def test_apop_is_relayed(password: str, server: Dovecot, front: Front, certificates: Certificates) -> None:
    answers = []
    for end in (server, front):
        talk, greeting = connect(end, "pop3", certificates)
        with talk:
            stamp = re.search(rb"<[^>]+>", greeting)
            assert stamp is not None
            talk.send(b"APOP alice %b\r\n" % hashlib.md5(stamp[0] + password.encode()).hexdigest().encode())
            answers.append(talk.line())
            if password == PASSWORD:
                assert letters(talk, "pop3") == len(LETTERS)
    assert answers[1] == answers[0]
    assert answers[1].startswith(b"+OK" if password == PASSWORD else b"-ERR")
    nothing_secret(front, password)


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_a_wrong_login_may_be_tried_again_in_the_same_session(protocol: str, front: Front, certificates: Certificates) -> None:
    talk, _ = connect(front, protocol, certificates)
    with talk:
        assert sasl.authenticate(talk, protocol, "PLAIN", "alice", "looking-glass").startswith((b"a NO", b"-ERR"))
        assert sasl.authenticate(talk, protocol, "SCRAM-SHA-256", "alice", PASSWORD).startswith((b"a OK", b"+OK"))
        assert letters(talk, protocol) == len(LETTERS)


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_a_mechanism_given_up_is_over_and_another_may_follow(protocol: str, front: Front, certificates: Certificates) -> None:
    talk, _ = connect(front, protocol, certificates)
    with talk:
        for mechanism in (b"PLAIN", b"LOGIN", b"CRAM-MD5"):
            talk.send((b"a AUTHENTICATE " if protocol == "imap" else b"AUTH ") + mechanism + b"\r\n")
            assert talk.line().startswith(b"+ ")
            talk.send(b"*\r\n")
            assert talk.line().startswith((b"a BAD", b"a NO", b"-ERR"))
        assert sasl.authenticate(talk, protocol, "LOGIN", "alice", PASSWORD).startswith((b"a OK", b"+OK"))
        assert letters(talk, protocol) == len(LETTERS)


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_a_master_user_reads_another_ones_mail_by_the_servers_own_rule(protocol: str, front: Front, certificates: Certificates) -> None:
    talk, _ = connect(front, protocol, certificates)
    (master, password), *_ = mailbox.MASTERS.items()
    with talk:
        assert sasl.authenticate(talk, protocol, "PLAIN", f"alice*{master}", password).startswith((b"a OK", b"+OK"))
        assert letters(talk, protocol) == len(LETTERS)
    nothing_secret(front, password)


@pytest.mark.parametrize(
    ("name", "protocol"), [(name, protocol) for name in ("dovecot", "cyrus", "courier") for protocol in ("imap", "pop3")]
)
def test_each_server_refuses_a_login_in_its_own_words(
    name: str, protocol: str, request: pytest.FixtureRequest, portico: Callable[..., Front], certificates: Certificates
) -> None:
    end: Server = request.getfixturevalue(name)

    def refused(ports: MailPorts) -> bytes:
        with Dialogue(getattr(ports, protocol + "s"), authority=certificates.authority, implicit=True) as talk:
            talk.line()
            if protocol == "imap":
                # As Portico itself does it: Cyrus has other words for LOGIN.
                return words(sasl.authenticate(talk, protocol, "PLAIN", "alice", "looking-glass"))
            talk.send(b"USER alice\r\nPASS looking-glass\r\n")
            assert talk.line().startswith(b"+OK")
            return words(talk.line())

    front = portico(end, "starttls", listener_settings=QUICK)
    # At the same time: each server takes its time to refuse.
    with ThreadPoolExecutor() as both:
        direct, through = both.map(refused, (end.ports, front.ports))
    assert through == direct


# A client certificate


@pytest.fixture(scope="module")
def cards(place: Path) -> dict[str, ssl.SSLContext]:
    """What clients show: alice's certificate, one of alice's from another authority, and none."""
    contexts = {}
    for name in ("ours", "theirs"):
        directory = place / f"cards-{name}"
        directory.mkdir()
        made = issue_into(directory, (), clients=("alice@example.org",))
        contexts[name] = ssl.create_default_context()
        contexts[name].load_cert_chain(*made.clients[0])
    return contexts | {"none": ssl.create_default_context()}


@pytest.fixture(scope="module")
def front_with_cards(server: Dovecot, place: Path, certificates: Certificates, cards: dict[str, ssl.SSLContext]) -> Iterator[Front]:
    """Portico that knows people by certificates, and the server's master user."""
    (master, password), *_ = mailbox.MASTERS.items()
    (place / "master-password").write_text(password + "\n")
    running = Front(
        place / "card-front",
        server.ports,
        certificates,
        "starttls",
        server_settings=f'master_user = "{master}"\nmaster_password = {{file = "{place}/master-password"}}\n',
        listener_settings=f"""{QUICK}mechanisms = ["PLAIN", "EXTERNAL"]
client_certificates = "optional"
client_ca_file = "{place}/cards-ours/ca.pem"
[[listeners.{{listener}}.routes]]
users = ["*@example.org"]
server = "server"
user = "{{local}}"
""",
    ).start()
    yield running
    running.stop()


def connect_with(card: ssl.SSLContext, front: Front, protocol: str, certificates: Certificates) -> Dialogue:
    talk = Dialogue(getattr(front.ports, protocol + "s"))
    card.load_verify_locations(certificates.authority)
    talk.context = card
    talk.handshake()
    return talk


def offered(talk: Dialogue, protocol: str) -> set[bytes]:
    if protocol == "imap":
        return {word[5:] for word in talk.command(b"c CAPABILITY").split() if word.startswith(b"AUTH=")}
    talk.send(b"CAPA\r\n")
    return {word for line in talk.multiline().splitlines() if line.startswith(b"SASL ") for word in line.split()[1:]}


@pytest.mark.parametrize("initial", ["", "=", "alice@example.org"])
@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_a_certificate_signs_in_by_the_servers_master_user(
    protocol: str, initial: str, front_with_cards: Front, certificates: Certificates, cards: dict[str, ssl.SSLContext]
) -> None:
    with connect_with(cards["ours"], front_with_cards, protocol, certificates) as talk:
        talk.line()
        assert offered(talk, protocol) == {b"PLAIN", b"EXTERNAL"}
        response = b"=" if initial == "=" else base64.b64encode(initial.encode())
        command = b"a AUTHENTICATE EXTERNAL" if protocol == "imap" else b"AUTH EXTERNAL"
        if response:
            talk.send(command + b" " + response + b"\r\n")
        else:
            talk.send(command + b"\r\n")
            assert talk.line().startswith(b"+ ")
            talk.send(b"\r\n")
        assert talk.line().startswith((b"a OK", b"+OK"))
        assert letters(talk, protocol) == len(LETTERS)
    assert next(iter(mailbox.MASTERS.values())) not in front_with_cards.log.read_text()


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_a_certificate_does_not_act_for_somebody_else(
    protocol: str, front_with_cards: Front, certificates: Certificates, cards: dict[str, ssl.SSLContext]
) -> None:
    with connect_with(cards["ours"], front_with_cards, protocol, certificates) as talk:
        talk.line()
        command = b"a AUTHENTICATE EXTERNAL" if protocol == "imap" else b"AUTH EXTERNAL"
        talk.send(command + b" " + base64.b64encode(b"bob@example.org") + b"\r\n")
        assert talk.line().startswith((b"a NO", b"-ERR"))


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_without_a_certificate_there_is_a_password_and_no_external(
    protocol: str, front_with_cards: Front, certificates: Certificates, cards: dict[str, ssl.SSLContext]
) -> None:
    with connect_with(cards["none"], front_with_cards, protocol, certificates) as talk:
        talk.line()
        assert offered(talk, protocol) == {b"PLAIN"}
        talk.send((b"a AUTHENTICATE EXTERNAL" if protocol == "imap" else b"AUTH EXTERNAL") + b"\r\n")
        assert talk.line().startswith((b"a NO", b"-ERR"))
        assert sasl.authenticate(talk, protocol, "PLAIN", "alice", "looking-glass").startswith((b"a NO", b"-ERR"))
        assert sasl.authenticate(talk, protocol, "PLAIN", "alice", PASSWORD).startswith((b"a OK", b"+OK"))
        assert letters(talk, protocol) == len(LETTERS)


@pytest.mark.parametrize("protocol", ["imap", "pop3"])
def test_a_certificate_of_another_authority_opens_nothing(
    protocol: str, front_with_cards: Front, certificates: Certificates, cards: dict[str, ssl.SSLContext]
) -> None:
    # With TLS 1.3 the client believes itself connected before the certificate is looked at.
    with pytest.raises((ssl.SSLError, EOFError, OSError)), connect_with(cards["theirs"], front_with_cards, protocol, certificates) as talk:
        talk.line()
    assert eventually(lambda: front_with_cards.events("session.closed")[-1]["reason"] == "tls_failed")
