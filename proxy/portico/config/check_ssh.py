"""What must fit together in the settings of an SSH host.

Rule of this file: as check.py. Keys are read, but nobody is asked: an agent may start later.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from portico.config.address import parse_address
from portico.config.document import KeyPath, Problem
from portico.config.explain import show
from portico.config.sections.ssh import Ssh


def ssh_mistakes(path: KeyPath, ssh: Ssh) -> Iterator[Problem]:
    """All that does not fit together in this table."""
    try:
        parse_address(f"[{ssh.host}]:{ssh.port}" if ":" in ssh.host else f"{ssh.host}:{ssh.port}")
    except ValueError:
        yield Problem((*path, "host"), f"found {show(ssh.host)}; the name or the address of a host is expected, without port and brackets")
    if (ssh.key is None) == (ssh.agent is None):
        had = "needs one of key and agent" if ssh.key is None else "has key and agent; one of them is possible"
        yield Problem(path, had, ((*path, "key"), (*path, "agent")))
    if (ssh.known_hosts is None) == (ssh.fingerprint is None):
        had = "needs known_hosts or fingerprint" if ssh.known_hosts is None else "has known_hosts and fingerprint; one of them is possible"
        text = f'{had}: the host\'s key is always checked ("ssh-keyscan -p {ssh.port} {show(ssh.host).strip(chr(34))}" shows it)'
        yield Problem(path, text, ((*path, "known_hosts"), (*path, "fingerprint")))
    if ssh.key is not None:
        yield from _key((*path, "key"), ssh.key)
    if ssh.known_hosts is not None:
        yield from _known((*path, "known_hosts"), ssh)


def ssh_warnings(path: KeyPath, ssh: Ssh) -> Iterator[Problem]:
    """What works but is probably not wanted."""
    if ssh.key is not None:
        try:
            open_to_all = bool(Path(ssh.key).stat().st_mode & stat.S_IROTH)
        except OSError:
            return
        if open_to_all:
            yield Problem((*path, "key"), f"{ssh.key}: everybody on this machine may read the key; chmod o-r")


def _key(path: KeyPath, file: str) -> Iterator[Problem]:
    from portico.config.ssh_library import asyncssh

    try:
        asyncssh.load_keypairs(file)
    except OSError as error:
        yield Problem(path, f"{file}: {error.strerror or 'cannot be read'}")
    except (ValueError, asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        locked = "passphrase" in str(error).lower()
        why = "has a passphrase; an agent can hold it: set agent in place of key" if locked else "is no private key that SSH knows"
        yield Problem(path, f"{file}: {why}")


def _known(path: KeyPath, ssh: Ssh) -> Iterator[Problem]:
    from portico.config.ssh_library import asyncssh

    assert ssh.known_hosts is not None
    try:
        asyncssh.read_known_hosts(ssh.known_hosts)
    except OSError as error:
        yield Problem(path, f"{ssh.known_hosts}: {error.strerror or 'cannot be read'}")
    except ValueError:
        yield Problem(path, f"{ssh.known_hosts}: is no known_hosts file")
    else:
        if not Path(ssh.known_hosts).read_bytes().strip():
            yield Problem(path, f"{ssh.known_hosts}: is empty")
