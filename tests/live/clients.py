"""Mail clients as people use them, each as one function: where to, who, and what came of it.

Rule of this file: a function does the same whether it talks to the server or to Portico; it returns plain
values that can be compared, messages as SHA-256 of their octets.
"""

from __future__ import annotations

import hashlib
import imaplib
import json
import os
import poplib
import pty
import re
import select
import shutil
import ssl
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from unittest import mock
from urllib.parse import quote

import imapclient
from portico.demo.ports import MailPorts

HOST = "localhost"
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[()=>][A-Z0-9]?|[\0\x0e\x0f]")
"""What moves the cursor of a terminal, and colours."""
Tls = Literal["none", "starttls", "implicit"]


@dataclass(frozen=True)
class Account:
    """Where a client finds its mail. `tls`: from the start, by STARTTLS or STLS (and nothing without it), or none at all."""

    ports: MailPorts
    user: str
    password: str
    authority: Path
    tls: Tls = "implicit"

    @property
    def implicit(self) -> bool:
        return self.tls == "implicit"

    def port(self, protocol: str) -> int:
        port: int = getattr(self.ports, protocol + "s" if self.implicit else protocol)
        return port

    @property
    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority)


def sha256(octets: bytes) -> str:
    return hashlib.sha256(octets).hexdigest()


def files(directory: Path) -> dict[str, str]:
    """Each file's path below `directory` and its hash."""
    return {str(path.relative_to(directory)): sha256(path.read_bytes()) for path in sorted(directory.rglob("*")) if path.is_file()}


def run(*command: str, cwd: Path, home: Path | None = None, allowed: tuple[int, ...] = (0,), timeout: float = 60) -> str:
    """Run a client in `cwd`; its output. Fails with the output unless it ends with an allowed code."""
    environment = os.environ | {"HOME": str(home or cwd), "LC_ALL": "C.UTF-8", "TERM": "dumb"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
        check=False, timeout=timeout,
    )  # fmt: skip
    assert done.returncode in allowed, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-4000:]}"
    return done.stdout


def curl(account: Account, directory: Path, protocol: str, count: int) -> dict[str, str]:
    """Download messages 1 to `count` of the inbox over one connection."""
    directory.mkdir(parents=True)
    scheme = protocol + "s" if account.implicit else protocol
    path = f"/INBOX;MAILINDEX=[1-{count}]" if protocol == "imap" else f"/[1-{count}]"
    run(*_curl(account), f"{scheme}://{HOST}:{account.port(protocol)}{path}", "--output", "#1.eml", cwd=directory)
    return files(directory)


def _curl(account: Account) -> list[str]:
    tls = [] if account.tls == "none" else ["--ssl-reqd", "--cacert", str(account.authority)]
    return ["curl", "--silent", "--show-error", *tls, "--user", f"{account.user}:{account.password}"]


def curl_folders(account: Account, directory: Path, folder: str) -> tuple[list[str], str]:
    """The list of folders, and the hash of the first message in one of them (its name as IMAP writes it)."""
    directory.mkdir(parents=True)
    scheme = "imaps" if account.implicit else "imap"
    address = f"{scheme}://{HOST}:{account.port('imap')}/"
    listed = sorted(run(*_curl(account), address, cwd=directory).splitlines())
    return listed, sha256(run(*_curl(account), f"{address}{quote(folder, safe='')};MAILINDEX=1", cwd=directory).encode())


def curl_append(account: Account, directory: Path, message: bytes) -> None:
    """Store a message into the inbox."""
    directory.mkdir(parents=True)
    (directory / "message.eml").write_bytes(message)
    scheme = "imaps" if account.implicit else "imap"
    run(*_curl(account), f"{scheme}://{HOST}:{account.port('imap')}/INBOX", "--upload-file", "message.eml", cwd=directory, timeout=120)


def mbsync(
    account: Account, directory: Path, *, push: dict[str, bytes] | None = None, into: str = "INBOX", folders: str = "*"
) -> dict[str, str]:
    """Synchronise `folders` (a pattern) into Maildirs; with `push`, put messages into the local folder `into` first and send them up."""
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "mail").mkdir(exist_ok=True)
    kind = {"none": "None", "starttls": "STARTTLS", "implicit": "IMAPS"}[account.tls]
    (directory / "mbsyncrc").write_text(f"""IMAPAccount account
Host {HOST}
Port {account.port("imap")}
User {account.user}
Pass {account.password}
SSLType {kind}
AuthMechs PLAIN LOGIN
CertificateFile {account.authority}
Timeout 30

IMAPStore far
Account account

MaildirStore near
Path mail/
Inbox mail/INBOX
SubFolders Verbatim

Channel all
Far :far:
Near :near:
Patterns "{folders}"
Create Near
SyncState *
Sync {"All" if push else "Pull"}
""")
    for name, message in (push or {}).items():
        new = directory / "mail" / into / "new" / name
        new.write_bytes(message.replace(b"\r\n", b"\n"))
    run("mbsync", "-c", "mbsyncrc", "-a", cwd=directory)
    found: dict[str, str] = {}
    for path in (directory / "mail").rglob("*"):
        if path.is_file() and path.parent.name in ("cur", "new"):
            # The name has the time and the process in it; flags are behind the colon.
            folder, flags = path.parent.parent.relative_to(directory / "mail"), path.name.partition(":2,")[2]
            # mbsync marks what it copies, at random, to find it again after an interruption.
            octets = re.sub(rb"^X-TUID: [^\n]*\n", b"", path.read_bytes(), count=1, flags=re.MULTILINE)
            found[f"{folder} {sha256(octets)}"] = flags
    return found


def fetchmail(account: Account, directory: Path, protocol: str, *, keep: bool = True) -> list[str]:
    """Fetch all of the inbox, and leave it there or take it away; hashes in the order of arrival."""
    return fetchmail_says(account, directory, protocol, keep=keep)[0]


def fetchmail_says(
    account: Account, directory: Path, protocol: str, *, keep: bool = True, more: str = "", arguments: Sequence[str] = ()
) -> tuple[list[str], str]:
    """The same, and what it says meanwhile. `more`: further words of its settings for this user."""
    directory.mkdir(parents=True)
    (directory / "in").mkdir()
    deliver = directory / "deliver"
    deliver.write_text('#!/bin/sh\nn=$(ls in | wc -l)\ncat > "in/$(printf %04d "$n")"\n')
    deliver.chmod(0o700)
    settings = directory / "fetchmailrc"
    settings.touch(mode=0o600)
    check = f'sslcertck sslcertfile "{account.authority}"'
    tls = {"none": "sslproto ''", "starttls": f'sslproto "TLS1.2+" {check}', "implicit": f"ssl {check}"}[account.tls]
    settings.write_text(
        f'set invisible\nset no bouncemail\npoll {HOST} service {account.port(protocol)} protocol {protocol} auth password\n'
        f'user "{account.user}" password "{account.password}" {tls} '
        f'{"keep" if keep else "nokeep"} fetchall no rewrite {more} mda "{deliver}"\n'
    )  # fmt: skip
    command = ["fetchmail", "--nodetach", "--nosyslog", "-f", str(settings), "--pidfile", str(directory / "pid"), *arguments]
    said = run(*command, cwd=directory, timeout=90)
    return [sha256(path.read_bytes()) for path in sorted((directory / "in").iterdir())], said


def imaplib_connect(account: Account) -> imaplib.IMAP4:
    if account.implicit:
        connection: imaplib.IMAP4 = imaplib.IMAP4_SSL(HOST, account.port("imap"), ssl_context=account.context, timeout=30)
    else:
        connection = imaplib.IMAP4(HOST, account.port("imap"), timeout=30)
        if account.tls == "starttls":
            connection.starttls(account.context)
    connection.login(account.user, account.password)
    return connection


def imaplib_walk(account: Account) -> dict[str, Any]:
    """Every folder with every message: numbers, flags, dates, sizes, structures, bodies."""
    found: dict[str, Any] = {}
    with imaplib_connect(account) as connection:
        found["namespace"] = connection.namespace()[1]
        found["lsub"] = sorted(connection.lsub()[1], key=repr)
        for row in connection.list()[1]:
            assert isinstance(row, bytes)
            attributes, _, rest = row.partition(b") ")
            name = rest.split(b" ", 1)[1].decode()
            answer, _ = connection.select(name, readonly=True)
            if answer != "OK":
                found[name] = attributes
                continue
            status, data = connection.uid("FETCH", "1:*", "(UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE BODY.PEEK[])")
            assert status == "OK"
            found[name] = [(item[0], sha256(item[1])) if isinstance(item, tuple) else item for item in data]
    return found


def imaplib_append(connection: imaplib.IMAP4, folder: str, octets: bytes) -> None:
    """Store these octets; imaplib alone would make each bare CR and LF a CRLF."""
    with mock.patch.object(imaplib, "MapCRLF", re.compile(rb"(?!)")):
        answer, text = connection.append(folder, "", '"04-May-2026 09:00:00 +0200"', octets)
    assert answer == "OK", text


def imapclient_connect(account: Account) -> imapclient.IMAPClient:
    context = account.context
    connection = imapclient.IMAPClient(
        HOST, account.port("imap"), ssl=account.implicit, ssl_context=context if account.implicit else None, timeout=30
    )
    if account.tls == "starttls":
        connection.starttls(context)
    connection.login(account.user, account.password)
    return connection


def imapclient_work(account: Account, messages: list[bytes]) -> list[Any]:
    """Make a folder, store messages, search, flag, copy, move, expunge; what each step said."""
    steps: list[Any] = []
    with imapclient_connect(account) as connection:
        prefix = str(connection.namespace().personal[0][0] or "")
        separator = connection.namespace().personal[0][1]
        box, other = f"{prefix}Grüße & Küsse", f"{prefix}Ablage{separator}日本"
        connection.create_folder(box)
        connection.create_folder(other)
        connection.subscribe_folder(other)
        for message in messages:
            connection.append(box, message, flags=(b"\\Seen",))
        steps.append(sorted(name for _, _, name in connection.list_folders()))
        steps.append(connection.select_folder(box)[b"EXISTS"])
        steps.append(connection.search(["SUBJECT", "Gr"], "UTF-8"))
        steps.append(connection.search("ALL"))
        connection.add_flags([1, 2], [imapclient.FLAGGED, b"$Work"])
        steps.append(
            {uid: sorted(set(data[b"FLAGS"]) - {b"\\Recent"}) for uid, data in connection.fetch(connection.search(), ["FLAGS"]).items()}
        )
        if connection.has_capability("SORT"):
            steps.append(connection.sort(["SIZE", "SUBJECT"]))
        if connection.has_capability("THREAD=REFERENCES"):
            steps.append(connection.thread("REFERENCES"))
        connection.copy([1, 3], other)
        if connection.has_capability("MOVE"):
            connection.move([2], other)
        connection.delete_messages([4])
        connection.expunge()
        steps.append({uid: sha256(data[b"BODY[]"]) for uid, data in connection.fetch(connection.search(), ["BODY.PEEK[]"]).items()})
        connection.select_folder(other)
        steps.append({uid: sha256(data[b"BODY[]"]) for uid, data in connection.fetch(connection.search(), ["BODY.PEEK[]"]).items()})
        steps.append(
            {uid: data[b"BODY[TEXT]<7>"] for uid, data in connection.fetch(connection.search(), ["BODY.PEEK[TEXT]<7.50>"]).items()}
        )
        connection.unselect_folder() if connection.has_capability("UNSELECT") else connection.close_folder()
        connection.rename_folder(other, f"{prefix}Anders")
        connection.delete_folder(box)
        steps.append(sorted(name for _, _, name in connection.list_folders()))
    return steps


def imapclient_idle(account: Account, deliver: Callable[[], None]) -> list[Any]:
    """Wait for mail that `deliver` brings; what the server said of it, and the message's hash."""
    with imapclient_connect(account) as connection:
        before = connection.select_folder("INBOX")[b"EXISTS"]
        connection.idle()
        deliver()
        heard: list[Any] = []
        end = time.monotonic() + 20
        while not any(word == b"EXISTS" for _, word, *_ in heard) and time.monotonic() < end:
            heard += connection.idle_check(timeout=5)
        connection.idle_done()
        ((_, message),) = connection.fetch([before + 1], ["BODY.PEEK[]"]).items()
        return [sorted({item for item in heard if item[1] == b"EXISTS"}), sha256(message[b"BODY[]"])]


def poplib_connect(account: Account) -> poplib.POP3:
    if account.implicit:
        connection: poplib.POP3 = poplib.POP3_SSL(HOST, account.port("pop3"), context=account.context, timeout=30)
    else:
        connection = poplib.POP3(HOST, account.port("pop3"), timeout=30)
        if account.tls == "starttls":
            connection.stls(account.context)
    connection.user(account.user)
    connection.pass_(account.password)
    return connection


def poplib_walk(account: Account) -> dict[str, Any]:
    """Everything POP3 can say about the inbox; nothing is deleted for good."""
    connection = poplib_connect(account)
    count, octets = connection.stat()
    found: dict[str, Any] = {"stat": (count, octets), "list": connection.list()[1], "uidl": connection.uidl()[1]}
    for number in range(1, count + 1):
        found[f"top {number}"] = connection.top(number, 5)[1]
        found[f"retr {number}"] = sha256(b"\r\n".join(connection.retr(number)[1]))
    connection.dele(1)
    found["stat after dele"] = connection.stat()
    connection.rset()
    found["stat after rset"] = connection.stat()
    found["noop"] = connection.noop()[:3]
    connection.quit()
    return found


def imapflow(account: Account, project: Path, message: Path, box: str = "Flöße/flow") -> Any:
    """The npm library does its work in tests/live/imapflow.cjs, in a new folder; what it found, as JSON."""
    modules = project / ".cache" / "node" / "node_modules"
    job = {
        "host": HOST,
        "port": account.port("imap"),
        "tls": account.tls,
        "user": account.user,
        "password": account.password,
        "authority": str(account.authority),
        "message": str(message),
        "box": box.split("/"),
        "imapflow": str(modules / "imapflow" / "lib" / "imap-flow.js"),
    }
    node = shutil.which("node")
    assert node is not None
    done = subprocess.run(
        [node, str(project / "tests" / "live" / "imapflow.cjs"), json.dumps(job)], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-1000:]
    return json.loads(done.stdout)


def mutt(account: Account, directory: Path, folder: str, *steps: tuple[str, str]) -> list[str]:
    """Open a folder on a terminal without TLS. Each step is a text to wait for on the screen and the keys that are pressed then; after the
    last one mutt is to end. What was written to the screen up to each text."""
    directory.mkdir(parents=True, exist_ok=True)
    address = f"imap://{HOST}:{account.port('imap')}/"
    (directory / "muttrc").write_text(f"""set imap_user="{account.user}" imap_pass="{account.password}"
set folder="{address}" spoolfile="+INBOX" record="" header_cache=""
set ssl_starttls=no ssl_force_tls=no confirmappend=no confirmcreate=no delete=no move=no wait_key=no quit=yes
""")
    environment = os.environ | {"HOME": str(directory), "TERM": "vt100", "LC_ALL": "C.UTF-8", "LINES": "40", "COLUMNS": "120"}
    terminal, its_end = pty.openpty()
    with subprocess.Popen(
        ["mutt", "-n", "-F", "muttrc", "-f", address + folder],
        cwd=directory, env=environment, stdin=its_end, stdout=its_end, stderr=its_end, start_new_session=True,
    ) as process:  # fmt: skip
        os.close(its_end)
        seen, screen = _at_terminal(terminal, process, steps)
    os.close(terminal)
    assert process.returncode == 0 and len(seen) == len(steps), f"mutt ended with {process.returncode} after {len(seen)} steps:\n{screen}"
    return seen


def _at_terminal(terminal: int, process: subprocess.Popen[bytes], steps: Sequence[tuple[str, str]]) -> tuple[list[str], str]:
    """Press keys when their text is there, until the program ends or is killed after a minute; what was seen, and what came behind that."""
    seen: list[str] = []
    screen = b""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        ready, _, _ = select.select([terminal], [], [], 1)
        try:
            screen += os.read(terminal, 65536) if ready else b""
        except OSError:  # nobody has its other end any more
            break
        text = _ESCAPES.sub("", screen.decode("utf-8", "replace"))
        if len(seen) < len(steps) and steps[len(seen)][0] in text:
            os.write(terminal, steps[len(seen)][1].encode())
            seen.append(text)
            screen = b""
    else:
        process.kill()
    return seen, _ESCAPES.sub("", screen.decode("utf-8", "replace"))
