"""A private Courier IMAP and POP3 from Debian's unpacked packages.

Rule of this file: Courier knows its own paths by heart (/etc/courier, /run/courier, /usr/lib/courier),
so it runs in a mount namespace of its own, in which they are there; outside nothing is to be seen of it.
"""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from portico.demo.certificates import Certificates
from portico.demo.child import Child
from portico.demo.ports import LOOPBACK

from tests.live.mail_server import MailServer, own

IMAP_CAPABILITIES = "IMAP4rev1 UIDPLUS CHILDREN NAMESPACE THREAD=ORDEREDSUBJECT THREAD=REFERENCES SORT QUOTA IDLE ACL"
# Its own processes too: Courier's daemons leave their process group, but not this. unshare(1) holds SIGTERM back.
NAMESPACES = ["unshare", "--mount", "--pid", "--fork", "--kill-child"]


class Courier(MailServer):
    """Courier; folders are ``INBOX.name``."""

    separator = "."
    prefix = "INBOX."

    def __init__(self, root: Path, directory: Path, *, users: Mapping[str, str], certificates: Certificates) -> None:
        super().__init__(root.resolve(), directory, users=users, certificates=certificates)

    def start(self) -> None:
        # Courier gives no mail to root; an ordinary user is root of its own user namespace and nobody else.
        account = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
        etc = self.directory / "etc" / "courier"
        mail = self.directory / "mail"
        mail.mkdir(parents=True)
        shutil.copytree(self.root / "etc" / "courier", etc)
        for name in ("passwd", "group"):
            # couriertls becomes this user where there is one, and ends where there is none.
            lines = Path("/etc", name).read_text().splitlines(keepends=True)
            nobody = next((line for line in lines if line.startswith(("nobody:", "nogroup:"))), "courier:x:65534:\n")
            number = nobody.split(":")[2]
            lines.append("courier:x:" + (f"{number}:{number}::/:/bin/false\n" if name == "passwd" else f"{number}:\n"))
            (etc.parent / name).write_text("".join(lines))
        entries = ""
        for user, password in self.users.items():
            home = mail / user
            for name in ("cur", "new", "tmp"):
                (home / "Maildir" / name).mkdir(parents=True)
            digest = subprocess.run(
                ["openssl", "passwd", "-6", "-stdin"], input=password, text=True, capture_output=True, check=True
            ).stdout
            uid, gid = (account.pw_uid, account.pw_gid) if account else (0, 0)
            entries += f"{user}\tuid={uid}|gid={gid}|home={home}|mail={home}/Maildir|systempw={digest.strip()}\n"
        userdb = etc / "userdb"
        userdb.touch(mode=0o600)
        userdb.write_text(entries)
        (etc / "authdaemonrc").write_text(
            'authmodulelist="authuserdb"\nauthmodulelistorig="authuserdb"\ndaemons=3\nauthdaemonvar=/run/courier/authdaemon\n'
        )
        pem = self.directory / "server.pem"
        pem.touch(mode=0o600)
        pem.write_bytes(self.certificates.key.read_bytes() + self.certificates.certificate.read_bytes())
        if account:
            own(mail, account)
            own(pem, account)
        script = self.directory / "courier.sh"
        script.write_text(self._script(pem))
        child = Child(
            [*NAMESPACES, *([] if account else ["--map-root-user"]), "sh", "-eu", str(script)], log=self.log, stop_signal=signal.SIGKILL
        )
        self._run(child)

    def _script(self, pem: Path) -> str:
        quote = shlex.quote
        root, etc, ports = quote(str(self.root)), quote(str(self.directory / "etc")), self.ports
        tls = f"COURIERTLS=/usr/bin/couriertls TLS_CERTFILE={quote(str(pem))} TLS_VERIFYPEER=NONE TLS_TRUSTCERTS=/etc/ssl/certs"
        imap = (
            f'IMAP_CAPABILITY="{IMAP_CAPABILITIES}" IMAP_CAPABILITY_TLS="{IMAP_CAPABILITIES} AUTH=PLAIN" IMAP_KEYWORDS=1 IMAP_ACL=1 IMAP_USELOCKS=0 '
            "IMAP_IDLE_TIMEOUT=1 IMAP_UMASK=022 IMAP_MAILBOX_SANITY_CHECK=0 IMAP_TRASHFOLDERNAME=Trash IMAP_OBSOLETE_CLIENT=0 MAILDIRPATH=Maildir"
        )
        pop3 = 'POP3AUTH="" POP3AUTH_TLS="LOGIN PLAIN" MAILDIRPATH=Maildir'
        daemon = f"/usr/sbin/couriertcpd -address={LOOPBACK} -maxprocs=200 -maxperip=200 -nodnslookup -noidentlookup -stderr={quote(str(self.log))}"
        imap_login = "/usr/lib/courier/courier/imaplogin /usr/bin/imapd Maildir"
        pop3_login = "/usr/lib/courier/courier/courierpop3login /usr/lib/courier/courier/courierpop3d Maildir"
        return f"""
mount --make-rprivate /
mount -t overlay -o ro,lowerdir={root}/usr:/usr overlay /usr
mount -t overlay -o ro,lowerdir={etc}:/etc overlay /etc
mount --bind {etc}/courier /etc/courier
mount -t tmpfs tmpfs /run
mkdir -p /run/courier/authdaemon
export LD_LIBRARY_PATH=/usr/lib:/usr/lib/courier-authlib:$(echo {root}/lib/*-linux-gnu)
/usr/sbin/makeuserdb
set -a
. /etc/courier/authdaemonrc
set +a
/usr/lib/courier/courier-authlib/authdaemond &
env {tls} {imap} IMAP_STARTTLS=YES TCPDOPTS= {daemon} {ports.imap} {imap_login} &
env {tls} {imap} IMAP_STARTTLS=NO IMAP_TLS=1 {daemon} {ports.imaps} /usr/bin/couriertls -server -tcpd {imap_login} &
env {tls} {pop3} POP3_STARTTLS=YES {daemon} {ports.pop3} {pop3_login} &
env {tls} {pop3} POP3_STARTTLS=NO POP3_TLS=1 {daemon} {ports.pop3s} /usr/bin/couriertls -server -tcpd {pop3_login} &
wait
"""
