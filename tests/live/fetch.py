"""Bring Debian's Cyrus and Courier, which cannot be installed beside Dovecot, into a directory.

Rule of this file: apt works out what is missing as if Dovecot were not installed, and downloads it;
the packages are unpacked, never installed, and no script of theirs runs. Works as an ordinary user.

    python -m tests.live.fetch .cache/servers
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = {
    "cyrus": ["cyrus-imapd", "cyrus-pop3d", "sasl2-bin", "libsasl2-modules-db"],
    "courier": ["courier-imap", "courier-pop", "courier-authlib-userdb"],
    "sshd": ["openssh-server"],
    "fail2ban": ["fail2ban"],
    "redis": ["redis-server"],
    "prometheus": ["prometheus"],
    "postgresql": ["postgresql"],
}
CONFLICTS = re.compile(r"^Provides:.*\b(imap-server|pop3-server)\b|^Package: postgresql", re.MULTILINE)
# No mail is sent: a mail transfer agent would only be unpacked in vain.
TRANSFER_AGENT = """Package: portico-test-mta
Status: install ok installed
Version: 1
Architecture: all
Maintainer: nobody
Provides: mail-transport-agent, default-mta
Description: stands for a mail transfer agent
"""


class CannotFetch(Exception):
    """This machine has no apt, or apt cannot reach the packages."""


def status_without_mail_servers(status: str) -> str:
    """dpkg's list of what is installed, without the IMAP and POP3 servers, and without PostgreSQL, so that all of it is unpacked."""
    paragraphs = [text for text in status.strip().split("\n\n") if not CONFLICTS.search(text)]
    return "\n\n".join([*paragraphs, TRANSFER_AGENT.strip()]) + "\n\n"


def fetch(server: str, directory: Path) -> Path:
    """Unpack `server` with what it lacks on this machine; returns the root of the unpacked tree. Done once."""
    root = directory / server / "root"
    if (directory / server / "done").exists():
        return root
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise CannotFetch(f"{server} comes from Debian's packages, and there is no apt-get here")
    shutil.rmtree(directory / server, ignore_errors=True)
    archives = directory / server / "archives"
    (archives / "partial").mkdir(parents=True)
    root.mkdir()
    status = directory / server / "status"
    status.write_text(status_without_mail_servers(Path("/var/lib/dpkg/status").read_text("utf-8")), "utf-8")
    apt = ["apt-get", "-qq", "--yes", "--no-install-recommends", "--download-only", "--reinstall", "-o", "Debug::NoLocking=true"]
    apt += ["-o", f"Dir::State::status={status.resolve()}", "-o", f"Dir::Cache::archives={archives.resolve()}/", "install"]
    done = run([*apt, *PACKAGES[server]])
    if done.returncode and os.geteuid() == 0:
        # The lists may be old, or not there at all.
        run(["apt-get", "-qq", "update"])
        done = run([*apt, *PACKAGES[server]])
    packages = sorted(archives.glob("*.deb"))
    if done.returncode or not packages:
        raise CannotFetch(f"apt-get could not download {server}: {done.stdout.strip()[-1000:]}")
    for package in packages:
        subprocess.run(["dpkg", "-x", package, root], check=True)
    shutil.rmtree(archives)
    (directory / server / "done").touch()
    return root


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False, timeout=300
    )


if __name__ == "__main__":
    for name in PACKAGES:
        try:
            print(f"{name}: {fetch(name, Path(sys.argv[1]))}")
        except CannotFetch as error:
            sys.exit(str(error))
