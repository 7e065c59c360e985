from __future__ import annotations

import os
from pathlib import Path

import pytest
from portico.observe.trace import MAX_LINE, Trace, TraceFailed


def test_a_trace_is_lines_with_time_and_direction(tmp_path: Path) -> None:
    trace = Trace(str(tmp_path / "new"), "s1", "alice@example.org", "session s1 imap")
    trace.write(0.0123, "C>", b"a1 SELECT INBOX\r\na2 NOOP\r\n")
    trace.write(12.5, "<S1", b"* 1 EXISTS\r\n\xff\x1b[31m\r\npart")
    trace.close()
    path = Path(trace.path)
    assert path.name == "alice@example.org-s1.trace"
    assert path.read_text().splitlines() == [
        "# session s1 imap",
        "    0.012 C> a1 SELECT INBOX",
        "    0.012 C> a2 NOOP",
        "   12.500 <S1 * 1 EXISTS",
        "   12.500 <S1 \\xff\\x1b[31m",
        "   12.500 <S1 part",
    ]


def test_only_its_owner_reads_it_even_when_the_mask_is_open(tmp_path: Path) -> None:
    mask = os.umask(0)
    try:
        trace = Trace(str(tmp_path / "new"), "s1", "alice", "")
    finally:
        os.umask(mask)
    assert Path(trace.path).stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("user", ["../../etc/passwd", "/etc/x", "a/b\0c", "..", "", "-rf", "é\n", "x" * 500])
def test_a_users_name_cannot_lead_out_of_the_directory(user: str, tmp_path: Path) -> None:
    trace = Trace(str(tmp_path), "s1", user, "")
    assert Path(trace.path).resolve().parent == tmp_path.resolve()
    assert not Path(trace.path).name.startswith(("-", "."))


def test_a_link_laid_beforehand_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "alice-s1.trace").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(TraceFailed):
        Trace(str(tmp_path), "s1", "alice", "")
    assert not (tmp_path / "elsewhere").exists()


def test_a_file_has_a_limit_and_a_line_too(tmp_path: Path) -> None:
    trace = Trace(str(tmp_path), "s1", "alice", "x", limit=10_000)
    trace.write(1.0, "C>", b"y" * 5000)
    for _ in range(50):
        trace.write(1.0, "C>", b"z" * 1000 + b"\r\n")
    text = Path(trace.path).read_text()
    assert f"y (and {5000 - MAX_LINE} octets)" in text
    assert len(text) < 10_100 and text.endswith("# the limit of this file is reached\n")


def test_what_cannot_be_written_fails_once_and_is_closed(tmp_path: Path) -> None:
    trace = Trace(str(tmp_path), "s1", "alice", "x")
    os.close(trace._fd)
    with pytest.raises(TraceFailed):
        trace._fd = os.open("/dev/full", os.O_WRONLY)
        trace.write(1.0, "C>", b"a\r\n")
    trace.write(1.0, "C>", b"b\r\n")
    trace.close()
    with pytest.raises(TraceFailed):
        Trace("/dev/null/x", "s1", "alice", "x")
