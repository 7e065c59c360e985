"""The two C programs, and what this machine lacks.

Rule of this file: nothing is installed; what is missing is named with the Debian package that has it.
"""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

NATIVE = Path(__file__).resolve().parent.parent / "native"
_HEADER = "#include <openssl/ssl.h>\n"


@dataclass(slots=True, frozen=True)
class Programs:
    load: Path
    null_server: Path


def missing_tools() -> list[str]:
    """Debian packages without which nothing can be measured."""
    missing = [package for program, package in (("gcc", "gcc libc6-dev"), ("openssl", "openssl")) if shutil.which(program) is None]
    if shutil.which("gcc") is not None:
        probe = subprocess.run(["gcc", "-E", "-x", "c", "-"], input=_HEADER, text=True, capture_output=True, check=False)
        if probe.returncode:
            missing.append("libssl-dev")
    return missing


def compile_into(directory: Path) -> Programs:
    """Compile what is older than its source. Raises CalledProcessError with gcc's words on standard error."""
    directory.mkdir(parents=True, exist_ok=True)
    programs = Programs(directory / "load", directory / "nullserver")
    newest = max(source.stat().st_mtime for source in NATIVE.iterdir())
    for program, libraries in ((programs.load, ["-lssl", "-lcrypto"]), (programs.null_server, [])):
        if not program.exists() or program.stat().st_mtime < newest:
            source = NATIVE / f"{program.name}.c"
            subprocess.run(["gcc", "-O2", "-g", "-Wall", "-Wextra", "-o", str(program), str(source), *libraries], check=True)
    return programs
