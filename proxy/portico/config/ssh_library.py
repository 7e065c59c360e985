"""asyncssh, imported so that no program runs.

Rule of this file: whoever needs asyncssh takes it from here. While it is imported it asks ctypes where liboqs and libnettle are, and for
that ctypes runs ldconfig, gcc and ld, at the start of a proxy and perhaps as root. Neither is needed: ML-KEM comes from cryptography, and
AES-GCM wants no MAC. Imported only where an SSH host or the console is wanted, like asyncssh itself.
"""

from __future__ import annotations

import ctypes.util


def _nowhere(name: str) -> None:
    """In place of ctypes.util.find_library."""


_find = ctypes.util.find_library
ctypes.util.find_library = _nowhere
try:
    import asyncssh as asyncssh
finally:
    ctypes.util.find_library = _find
