"""What is wrong with a file of certificates that a server is to show.

Rule of this file: it tells what clients will stumble over (RFC 8446 4.4.2: each certificate certifies the one before it) and trusts
nothing on account of it. Blocking, for the command line only.
"""

from __future__ import annotations

import ssl
import warnings
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from portico.tls.inspect import describe
from portico.tls.material import host_names


def chain_problems(certificates: Sequence[x509.Certificate], authorities: Sequence[x509.Certificate] | None = None) -> list[str]:
    """In plain words, nothing for a good chain. `authorities`: those that clients trust; default: this system's."""
    if not certificates:
        return []
    first = certificates[0]
    if describe(first).authority and len(certificates) > 1:
        return ["begins with an authority's certificate; the server's own must be the first"]
    if describe(first).authority:
        return []
    found = [] if host_names(first) else ["has no name in it, so that no client can check it"]
    for number, (one, other) in enumerate(pairwise(certificates), 2):
        if not _issued(one, other):
            elsewhere = any(_issued(one, each) for each in certificates)
            found.append(f"number {number} is not the issuer of number {number - 1}" + ("; the order is wrong" if elsewhere else ""))
    found += _expired(certificates[1:])
    last = certificates[-1]
    if not _issued(last, last) and not any(_issued(last, each) for each in (authorities if authorities is not None else _of_the_system())):
        found.append(
            f"ends at {last.issuer.rfc4514_string()}, which is neither in the file nor trusted by this system: unless the clients know it, "
            "the certificates in between are missing"
        )
    return found


def _expired(certificates: Sequence[x509.Certificate]) -> Iterator[str]:
    for number, each in enumerate(certificates, 2):
        if describe(each).days_left() < 0:
            yield f"number {number} has expired on {each.not_valid_after_utc:%Y-%m-%d}"


def _issued(one: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        one.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _of_the_system() -> list[x509.Certificate]:
    found: list[x509.Certificate] = []
    paths = ssl.get_default_verify_paths()
    # One file each where there are such: one that cannot be read then hides no other.
    files = sorted(Path(paths.capath).glob("*.[0-9]")) if paths.capath else []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # cryptography's, of old authorities that break a rule
        for file in files or ([Path(paths.cafile)] if paths.cafile else []):
            try:
                found += x509.load_pem_x509_certificates(file.read_bytes())
            except (OSError, ValueError):
                continue
    return found
