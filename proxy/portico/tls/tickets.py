"""Session tickets that hold in several processes, and for a time only (RFC 5077 5.5, RFC 8446 4.6.1).

Rule of this file: the keys of tickets are derived from a secret, the time and what the tickets are for; whoever has the same three
has the same keys. The ssl module has no call for it, so OpenSSL's own is called in the library that the ssl module has loaded, where the
module is known to keep its SSL_CTX; the keys are read back, and where anything is not as expected each context keeps the keys that
OpenSSL made for it.
"""

from __future__ import annotations

import ctypes
import hmac
import os
import ssl
import sys
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from portico.config.units import HOURS
from portico.errors import Secret

ROTATION: Final = 12 * HOURS
SECRET_OCTETS: Final = 32
_KEYS: Final = 80
"""OpenSSL 1.1.0 and later: a name of 16 octets, 32 for HMAC-SHA256, 32 for AES-256."""
_GET: Final = 58
"""SSL_CTRL_GET_TLSEXT_TICKET_KEYS, of openssl/ssl.h"""
_SET: Final = 59
_SESSIONS: Final = 44
"""SSL_CTRL_SET_SESS_CACHE_MODE; 0: SSL_SESS_CACHE_OFF."""
_SESSIONS_NOW: Final = 45
_KNOWN: Final = (3, 11) <= sys.version_info < (3, 14) and sys.implementation.name == "cpython"
"""Modules/_ssl.c: PySSLContext begins with PyObject_HEAD and then `SSL_CTX *ctx`."""


class Tickets:
    """Where keys come from: a secret that other processes, or machines, may have too, and how long keys hold, in seconds."""

    __slots__ = ("rotation", "secret")

    def __init__(self, secret: Secret | None = None, rotation: float = ROTATION) -> None:
        self.secret = secret if secret is not None else Secret(os.urandom(SECRET_OCTETS))
        self.rotation = rotation

    def __repr__(self) -> str:
        return f"<Tickets {self.rotation:g} s>"

    def epoch(self, now: float) -> int:
        """Which keys hold at that time (seconds since 1970): they change when this does."""
        return int(now // self.rotation)

    def keys(self, epoch: int, purpose: bytes) -> bytes:
        """The keys of an epoch for tickets that say no more than `purpose`: what was asked of the client, and who it was told we are."""
        info = b"portico session tickets 1\0%d\0" % epoch + purpose
        return HKDF(hashes.SHA256(), _KEYS, salt=None, info=info).derive(self.secret.reveal())


def set_keys(context: ssl.SSLContext, keys: bytes) -> bool:
    """Let the context make and take tickets with these keys. False: that cannot be done here, and it keeps those of its own."""
    function, handle = _ctrl(), _handle(context)
    if function is None or handle is None or len(keys) != _KEYS:
        return False
    if function(handle, _SET, _KEYS, ctypes.create_string_buffer(keys, _KEYS)) != 1:
        return False
    held = ctypes.create_string_buffer(_KEYS)
    return function(handle, _GET, _KEYS, held) == 1 and hmac.compare_digest(held.raw, keys)


def remember_nothing(context: ssl.SSLContext) -> bool:
    """Keep no sessions in memory for clients to resume (RFC 5246 7.3): without tickets, too, none is resumed then. False: that cannot be
    done here, and sessions of TLS 1.2 are resumed for the two hours that OpenSSL keeps them."""
    function, handle = _ctrl(), _handle(context)
    if function is None or handle is None:
        return False
    function(handle, _SESSIONS, 0, None)
    return bool(function(handle, _SESSIONS_NOW, 0, None) == 0)


def _handle(context: ssl.SSLContext) -> ctypes.c_void_p | None:
    """The SSL_CTX."""
    if not _KNOWN:
        return None
    return ctypes.c_void_p.from_address(id(context) + object.__basicsize__)


def _ctrl() -> Any:
    """SSL_CTX_ctrl, of the very library that the ssl module uses: another one (a package may bring its own) has other structures."""
    file = getattr(sys.modules.get("_ssl"), "__file__", None)
    if file is None:  # a part of the interpreter: nobody says which library is meant
        return None
    try:
        function = ctypes.CDLL(file).SSL_CTX_ctrl
    except (OSError, AttributeError):
        return None
    function.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_long, ctypes.c_void_p)
    function.restype = ctypes.c_long
    return function
