"""What must fit together in [console].

Rule of this file: as config/check.py, of which it is a part.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from portico.config.address import parse_address
from portico.config.document import KeyPath, Problem
from portico.config.explain import show
from portico.config.sections.console import Console


def console_mistakes(path: KeyPath, console: Console) -> Iterator[Problem]:
    """Whether the address is one and meant to be seen, and whether somebody can come in there."""
    if console.socket is not None:
        yield from _socket((*path, "socket"), console.socket)
    if console.address is None:
        return
    key = (*path, "address")
    try:
        address = parse_address(console.address, any_port=True)
    except ValueError as error:
        yield Problem(key, f"found {show(console.address)}; {error}")
        return
    if address.path:
        yield Problem(key, f"found {show(console.address)}; SSH needs a host and a port; a unix socket is what `socket` is for")
    elif not address.local and not console.public:
        yield Problem(
            key, f"found {show(console.address)}; other machines can reach it: public = true, if that is meant", ((*path, "public"),)
        )
    if console.authorized_keys is None:
        yield Problem(key, "needs authorized_keys: the file with the public keys that may come in", ((*path, "authorized_keys"),))
    elif not Path(console.authorized_keys).is_file():
        yield Problem((*path, "authorized_keys"), f"{console.authorized_keys}: is not there")
    if console.host_key is None:
        yield Problem(key, "needs host_key: the file for the console's own key, which is made at the first start", ((*path, "host_key"),))
    elif not Path(console.host_key).parent.is_dir():
        yield Problem((*path, "host_key"), f"{console.host_key}: the directory does not exist")


def _socket(path: KeyPath, name: str) -> Iterator[Problem]:
    try:
        parse_address(f"unix:{name}")
    except ValueError as error:
        yield Problem(path, str(error))
        return
    if not Path(name).parent.is_dir():
        yield Problem(path, f"{name}: the directory does not exist")
