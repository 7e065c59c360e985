"""Lists of revoked certificates (RFC 5280 5), as far as settings and their check need to know them.

Rule of this file: files in, times out; who is revoked is OpenSSL's business.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509


def crl_ends(file: str) -> datetime.datetime | None:
    """When the first of the lists in a file of revoked certificates is too old (RFC 5280 5.1.2.5); None: never, or it cannot be read."""
    try:
        lists = _crls(Path(file).read_bytes())
    except (OSError, ValueError):
        return None
    ends = [each.next_update_utc for each in lists if each.next_update_utc is not None]
    return min(ends) if ends else None


def _crls(octets: bytes) -> Sequence[x509.CertificateRevocationList]:
    end = b"-----END X509 CRL-----"
    return [x509.load_pem_x509_crl(part[part.index(b"-----BEGIN X509 CRL-----") :] + end) for part in octets.split(end)[:-1]]
