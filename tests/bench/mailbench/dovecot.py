"""Dovecot, as a proxy and as a backend with real mailboxes.

Rule of this file: configuration and mailboxes in the run's directory; the system's own Dovecot is not touched. The names
of users and mailboxes are those that native/nullserver.c makes up.
"""

from __future__ import annotations

import base64
import os
import pwd
import random
from collections.abc import Sequence
from pathlib import Path

from mailbench.certificate import Certificate

BIG_LIST = 20_000
"""Messages in the mailbox that is listed."""
INVITED = 20
"""Meeting requests among the newest of them, one in fifty."""
ORDINARY = 400
"""Messages of ordinary mail in the inbox of ``mail``; some meeting requests lie behind them."""


def _common(home: Path, certificate: Certificate) -> str:
    for name in ("run", "state"):
        (home / name).mkdir(mode=0o755, parents=True, exist_ok=True)
    return f"""
base_dir = {home}/run
state_dir = {home}/state
log_path = {home}/log
protocols = imap pop3
listen = 127.0.0.1
default_vsz_limit = 2G
default_client_limit = 19000
default_process_limit = 100
disable_plaintext_auth = no
ssl_min_protocol = TLSv1.3
ssl_cert = <{certificate.certificate}
ssl_key = <{certificate.key}
shutdown_clients = yes
verbose_proctitle = no
service anvil {{
  client_limit = 19500
}}
service auth {{
  client_limit = 19500
}}
service stats {{
  client_limit = 19500
}}
"""


def _login_services(imap: int, imaps: int, pop3: int, pop3s: int) -> str:
    services = ""
    for protocol, clear, encrypted in (("imap", imap, imaps), ("pop3", pop3, pop3s)):
        services += f"""
service {protocol}-login {{
  service_count = 0
  process_min_avail = {os.cpu_count()}
  process_limit = {os.cpu_count()}
  client_limit = 19000
  inet_listener {protocol} {{
    port = {clear}
  }}
  inet_listener {protocol}s {{
    port = {encrypted}
    ssl = yes
  }}
}}
"""
    return services


def proxy_configuration(home: Path, certificate: Certificate, listen: tuple[int, int], backend: tuple[int, int]) -> str:
    """Dovecot's login process as a proxy; ports are IMAP's and POP3's."""
    services = _login_services(0, listen[0], 0, listen[1])
    return f"""{_common(home, certificate)}
ssl = required
{services}
login_log_format_elements =
passdb {{
  driver = static
  args = proxy=y nopassword=y host=127.0.0.1 port=%{{if;%s;eq;imap;{backend[0]};{backend[1]}}}
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home=/nonexistent
}}
"""


def backend_configuration(home: Path, certificate: Certificate, imap: int, pop3: int) -> str:
    """A real store on mailboxes made here."""
    services = _login_services(imap, 0, pop3, 0)
    return f"""{_common(home, certificate)}
ssl = yes
{services}
mail_location = maildir:{home}/mail/%u
mail_uid = nobody
mail_gid = nogroup
first_valid_uid = 1
first_valid_gid = 1
mail_max_userip_connections = 20000
maildir_stat_dirs = no
passdb {{
  driver = static
  args = password=secret
}}
userdb {{
  driver = static
  args = uid=nobody gid=nogroup home={home}/mail/home
}}
service imap {{
  process_limit = 6000
  service_count = 1000
  process_min_avail = 8
}}
service pop3 {{
  process_limit = 3000
  service_count = 1000
  process_min_avail = 8
}}
"""


def make_home(home: Path) -> None:
    """Where mailboxes can be made."""
    (home / "mail" / "home").mkdir(parents=True)
    nobody = pwd.getpwnam("nobody")
    for path in (home / "mail", home / "mail" / "home"):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)


def make_big(home: Path, big: int) -> None:
    """``big`` with one message of `big` octets, for POP3 in the inbox and for IMAP in a mailbox."""
    mail = home / "mail"
    _fill(mail / "big", [big])
    _fill(mail / "big" / f".SIZE-{big}", [big])
    nobody = pwd.getpwnam("nobody")
    for path in (mail / "big", *(mail / "big").rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)


def make_links_mailboxes(home: Path, readers: int) -> int:
    """``mail`` with ORDINARY messages as people get them, and ``list1``, ``list2``, … (`readers` of them, all of whom see the same mail)
    with BIG_LIST messages; in both there are meeting requests. The octets of the ordinary messages."""
    mail = home / "mail"
    sizes = _write(mail / "mail", [*(_ordinary(number) for number in range(1, ORDINARY + 1)), *map(_invitation, range(8))])
    listed = mail / "list1"
    _fill(listed, [2000] * (BIG_LIST - 1000))
    newest = [_invitation(number) if number % 50 == 25 else _ordinary(number, 2000) for number in range(1000)]
    _write(listed, newest, first=BIG_LIST - 999)
    for number in range(2, readers + 1):
        (mail / f"list{number}").symlink_to(listed)
    nobody = pwd.getpwnam("nobody")
    for path in (mail / "mail", listed, *(mail / "mail").rglob("*"), *listed.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    return sum(sizes[:ORDINARY])


def _write(maildir: Path, messages: Sequence[bytes], first: int = 1) -> list[int]:
    for name in ("cur", "new", "tmp"):
        (maildir / name).mkdir(parents=True, exist_ok=True)
    for number, message in enumerate(messages, first):
        size = len(message)
        (maildir / "cur" / f"{1_700_000_000 + number}.M{number}P1.bench,S={size},W={size}:2,S").write_bytes(message)
    return [len(message) for message in messages]


def _head(number: int, kind: str) -> bytes:
    return (
        f"From: Alice Example <alice{number % 97}@example.org>\r\nTo: Bob Builder <bob@example.net>\r\n"
        f"Subject: Minutes of the meeting, part {number}\r\nDate: Tue, 05 Mar 2024 10:00:00 +0100\r\n"
        f"Message-ID: <mail.{number}@mail.example.org>\r\nMIME-Version: 1.0\r\nContent-Type: {kind}\r\n\r\n"
    ).encode()


_LINE = b"The quick brown fox jumps over the lazy dog and has a rest on the other side.\r\n"
_TEXT = "text/plain; charset=utf-8"
_BORDER = "----=_Part_4711_0815.1709629200"


def _parts(*parts: tuple[str, bytes]) -> bytes:
    told = b"".join(b"--%b\r\nContent-Type: %b\r\n%b\r\n" % (_BORDER.encode(), kind.encode(), body) for kind, body in parts)
    return told + b"--%b--\r\n" % _BORDER.encode()


def _ordinary(number: int, size: int = 0) -> bytes:
    """A quarter is plain text, the half text and HTML, a quarter has an attachment; of some 12 KB in the middle, 75 KB on average."""
    chance = random.Random(number)
    octets = size or min(2_000_000, max(1500, int(chance.lognormvariate(9.4, 1.9))))
    if number % 4 == 0:
        return _head(number, _TEXT) + _LINE * (octets // len(_LINE))
    text = _LINE * (octets // 8 // len(_LINE) + 1)
    if number % 4 == 3:
        attached = base64.encodebytes(chance.randbytes(octets * 5 // 8)).replace(b"\n", b"\r\n")
        head = "application/pdf\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment"
        return _head(number, f'multipart/mixed; boundary="{_BORDER}"') + _parts((f"{_TEXT}\r\n", text), (f"{head}\r\n", attached))
    html = b"<html><body>\r\n" + b"<p>%b</p>\r\n" % _LINE[:-2] * (octets * 6 // 8 // (len(_LINE) + 7)) + b"</body></html>\r\n"
    kind = f'multipart/alternative; boundary="{_BORDER}"'
    return _head(number, kind) + _parts((f"{_TEXT}\r\n", text), ("text/html; charset=utf-8\r\n", html))


def _invitation(number: int) -> bytes:
    calendar = (
        f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Example//EN\r\nMETHOD:REQUEST\r\nBEGIN:VEVENT\r\nUID:{number}@example.org\r\n"
        "DTSTAMP:20240305T090000Z\r\nDTSTART:20240312T090000Z\r\nDTEND:20240312T100000Z\r\nSUMMARY:Budget\r\n"
        "ORGANIZER:mailto:alice@example.org\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    ).encode()
    kind = f'multipart/alternative; boundary="{_BORDER}"'
    parts = _parts((f"{_TEXT}\r\n", _LINE * 3), ("text/calendar; charset=utf-8; method=REQUEST\r\n", calendar))
    return _head(100_000 + number, kind) + parts


def _fill(maildir: Path, sizes: Sequence[int]) -> None:
    for name in ("cur", "new", "tmp"):
        (maildir / name).mkdir(parents=True)
    for number, size in enumerate(sizes, 1):
        _message(maildir / "cur" / f"{1_700_000_000 + number}.M{number}P1.bench,S={size},W={size}:2,S", number, size)


def _message(path: Path, number: int, size: int) -> None:
    """`size` octets, CRLF lines of 78."""
    head = (
        f"From: Alice Example <alice{number % 97}@example.org>\r\nTo: Bob Builder <bob@example.net>\r\n"
        f"Subject: Re: quarterly figures and the meeting, part {number}\r\nDate: Tue, 05 Mar 2024 10:00:00 +0100\r\n"
        f"Message-ID: <msg.{number}@mail.example.org>\r\nIn-Reply-To: <parent.{number}@mail.example.net>\r\n\r\n"
    ).encode()
    line = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789ABCDEFGHIJKLMN"[:76] + b"\r\n"
    block = line * 1000
    with path.open("wb") as file:
        left = size - 2 - file.write(head)
        while left > 0:
            left -= file.write(block[:left])
        file.write(b"\r\n")
