"""Whose fault it is, and what may be said about it.

Rule of this file: every exception that Portico raises on purpose is here, and each
says which side it blames. Anything else that escapes is a bug of ours: the
session ends with BYE and the log has the traceback.
"""

from __future__ import annotations

import re
from binascii import Error, a2b_base64
from typing import Final

_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{2,}={0,2}")


def _from_base64(run: str) -> bytes:
    """What a run of base64 stands for, as far as it goes; empty if it is none."""
    digits = run.rstrip("=")
    try:
        return a2b_base64(digits[: len(digits) // 4 * 4]) + a2b_base64(digits[len(digits) // 4 * 4 :] + "=" * (-len(digits) % 4))
    except Error:
        return b""


class Secret:
    """A password or token. Prints as ``<secret>``; only `reveal` gives the octets.

    Compares by value in constant time, is not hashable and not picklable, so that it can
    neither become a key of a cache nor leave the process by accident.
    """

    __slots__ = ("_octets",)

    def __init__(self, octets: bytes | str) -> None:
        self._octets: Final = octets.encode() if isinstance(octets, str) else bytes(octets)

    def reveal(self) -> bytes:
        """The octets themselves: for SASL and the sign-in line, nowhere else."""
        return self._octets

    def blot(self, text: str) -> str:
        """`text`, which a peer said, without the secret, should it repeat it: as such or somewhere in base64."""
        if not self._octets:
            return text
        # NUL stands for it first: of the word that is put there in the end nothing is looked for again.
        text = _BASE64.sub(lambda run: "\0" if self._octets in _from_base64(run[0]) else run[0], text)
        for encoding in ("utf-8", "latin-1"):
            text = text.replace(self._octets.decode(encoding, "replace"), "\0")
        return text.replace("\0", "<secret>")

    def __bool__(self) -> bool:
        return bool(self._octets)

    def __repr__(self) -> str:
        return "<secret>"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "<secret>"

    def __eq__(self, other: object) -> bool:
        import hmac

        return isinstance(other, Secret) and hmac.compare_digest(self._octets, other._octets)

    __hash__ = None  # type: ignore[assignment]

    def __reduce__(self) -> str:
        raise TypeError("a Secret does not leave the process")


class PorticoError(Exception):
    """Base of all that Portico raises on purpose."""


class PeerError(PorticoError):
    """A peer said something that cannot be accepted.

    `text` is a plain sentence for the peer and for the log; it never holds what the peer sent.
    `fatal` says that the boundary is lost and the connection must end (BYE, -ERR and close);
    otherwise the command alone is refused (tagged BAD, -ERR) and the session goes on.
    """

    def __init__(self, text: str, *, fatal: bool = False, code: str = "") -> None:
        super().__init__(text)
        self.text = text
        self.fatal = fatal
        self.code = code
        """Response code without brackets, as ``TOOBIG`` (RFC 7889), or empty."""


class SettingsError(PorticoError):
    """The settings cannot be used. `problems` has one finished line per mistake."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class PluginError(PorticoError):
    """A plugin cannot be loaded or broke its contract; `plugin` is its name."""

    def __init__(self, plugin: str, text: str) -> None:
        super().__init__(f"plugin {plugin}: {text}")
        self.plugin = plugin
        self.text = text
