"""The certificate of a run.

Rule of this file: ECDSA P-256, self-signed, a month; all peers use the same one.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True, frozen=True)
class Certificate:
    certificate: Path
    key: Path
    both: Path
    """Certificate and key in one file (HAProxy)."""


def make(directory: Path) -> Certificate:
    made = Certificate(directory / "cert.pem", directory / "key.pem", directory / "both.pem")
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30",
            "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
            "-keyout", str(made.key), "-out", str(made.certificate),
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    made.both.write_bytes(made.certificate.read_bytes() + made.key.read_bytes())
    for file in (made.certificate, made.key, made.both):
        file.chmod(0o644)  # a throw-away key, read by servers after they gave up root
    return made
