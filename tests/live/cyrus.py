"""A private Cyrus IMAP from Debian's unpacked packages.

Rule of this file: everything it writes is below `directory`; it runs as whoever starts it.
"""

from __future__ import annotations

import imaplib
import os
import pwd
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from portico.demo.certificates import Certificates
from portico.demo.child import Child
from portico.demo.ports import LOOPBACK

from tests.live.mail_server import MailServer, own, passable

ADMIN = ("cyrus-admin", "sesame")
PROXY = ("portico", "open-sesame")
"""Who may sign in for others."""


class Cyrus(MailServer):
    """Cyrus; ``/`` between levels."""

    separator = "/"
    prefix = ""
    shared_prefix = "Shared Folders/"

    def __init__(self, root: Path, directory: Path, *, users: Mapping[str, str], certificates: Certificates) -> None:
        super().__init__(passable(root, directory), directory, users=users, certificates=certificates)

    def start(self) -> None:
        # Cyrus does not run as root.
        account = pwd.getpwnam("nobody") if os.geteuid() == 0 else pwd.getpwuid(os.getuid())
        programs = self.root / "usr/lib/cyrus/bin"
        libraries = sorted({str(path.parent) for path in self.root.glob("**/*.so*")})
        environment = os.environ | {
            "LD_LIBRARY_PATH": os.pathsep.join(path for path in libraries if not path.endswith("/sasl2")),
            "SASL_PATH": os.pathsep.join(str(path) for path in self.root.glob("usr/lib/*/sasl2")),
            "CYRUS_USER": account.pw_name,
        }
        for name in ("config/socket", "config/db", "config/proc", "config/log", "config/sasl", "config/ptclient", "mail", "tmp"):
            (self.directory / name).mkdir(parents=True, exist_ok=True)
        shutil.copy(self.certificates.key, self.directory / "server.key")
        imapd_conf, cyrus_conf = self._write(programs, account)
        saslpasswd = [str(self.root / "usr/sbin/saslpasswd2"), "-p", "-c", "-u", "localhost", "-f", str(self.directory / "sasldb")]
        for user, password in {**self.users, **dict([ADMIN, PROXY])}.items():
            subprocess.run([*saslpasswd, user], input=password.encode(), env=environment, check=True, capture_output=True)
        if os.geteuid() == 0:
            own(self.directory, account)
        child = Child(
            [str(programs / "master"), "-C", str(imapd_conf), "-M", str(cyrus_conf), "-p", str(self.directory / "master.pid"), "-D"],
            log=self.log,
            environment=environment,
            account=account,
        )
        self._run(child)

    def _write(self, programs: Path, account: pwd.struct_passwd) -> tuple[Path, Path]:
        directory, ports = self.directory, self.ports
        imapd = directory / "imapd.conf"
        imapd.write_text(f"""configdirectory: {directory}/config
partition-default: {directory}/mail
defaultpartition: default
cyrus_user: {account.pw_name}
admins: {ADMIN[0]}
proxyservers: {PROXY[0]}
servername: localhost
defaultdomain: localhost
unixhierarchysep: yes
altnamespace: yes
allowplaintext: yes
sasl_mech_list: PLAIN LOGIN
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {directory}/sasldb
tls_server_cert: {self.certificates.certificate}
tls_server_key: {directory}/server.key
temp_path: {directory}/tmp
sharedprefix: Shared Folders
userprefix: Other Users
imapidlepoll: 1
popminpoll: 0
maxlogins_per_user: 0
conversations: no
syslog_prefix: portico-test
lmtpsocket: {directory}/config/socket/lmtp
idlesocket: {directory}/config/socket/idle
notifysocket: {directory}/config/socket/notify
mboxname_lockpath: {directory}/config/lock
proc_path: {directory}/config/proc
sievedir: {directory}/config/sieve
""")
        services = "".join(
            f'  {name} cmd="{programs}/{program} -C {imapd}" listen="{LOOPBACK}:{getattr(ports, name)}" prefork=0\n'
            for name, program in (("imap", "imapd"), ("imaps", "imapd -s"), ("pop3", "pop3d"), ("pop3s", "pop3d -s"))
        )
        conf = directory / "cyrus.conf"
        conf.write_text(f'START {{\n  recover cmd="{programs}/ctl_cyrusdb -C {imapd} -r"\n}}\nSERVICES {{\n{services}}}\nEVENTS {{\n}}\n')
        return imapd, conf

    def _make_mailboxes(self) -> None:
        with imaplib.IMAP4(LOOPBACK, self.ports.imap) as admin:
            admin.login(*ADMIN)
            for user in self.users:
                answer, text = admin.create(f"user/{user}")
                assert answer == "OK", text
            for name in ("Team", "Team/Minutes"):
                answer, text = admin.create(name)
                assert answer == "OK", text
                admin.setacl(name, "anyone", "lrswip")
