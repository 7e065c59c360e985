"""A directory for what lives as long as Portico runs, and the process that takes its place after it.

Rule of this file: it is made for nobody but the account of the processes, and gone in the end, unless it was handed on.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from portico.workers.nursery import Account

_LEDGER: Final = "annotations.sqlite"


class Runtime:
    """`handed`: the directory of the process before us. `owned`: it is ours to remove."""

    def __init__(
        self, account: Account | None, handed: str | None = None, *, owned: bool = True, environment: Mapping[str, str] | None = None
    ) -> None:
        environment = os.environ if environment is None else environment
        # systemd.exec(5) RuntimeDirectory=; there may be several, with colons between.
        given = environment.get("RUNTIME_DIRECTORY", "").split(":")[0] or None
        self.path = Path(handed or tempfile.mkdtemp(prefix="portico-", dir=given))
        self.owned = owned
        if account is not None and os.geteuid() == 0:
            os.chown(self.path, account.uid, account.gid)

    @property
    def ledger(self) -> str:
        """The file in which all workers remember annotations where the settings name none."""
        return str(self.path / _LEDGER)

    def close(self) -> None:
        if self.owned:
            with suppress(OSError):
                shutil.rmtree(self.path)
