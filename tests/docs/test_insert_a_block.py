"""docs/how-to/write-a-plugin.md, the section on annotators: what it shows is written down and its tests are run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "write-a-plugin.md"
FILE = re.compile(r"`([\w.]+)`[^`\n]*:\n\n```python\n(.*?)```", re.DOTALL)


def test_the_annotator_of_the_page_passes_its_tests(tmp_path: Path) -> None:
    section = PAGE.read_text("utf-8").partition("\n## Insert a block\n")[2].partition("\n## ")[0]
    files = dict(FILE.findall(section))
    assert list(files) == ["acme_from_outside.py", "test_from_outside.py"]
    for name, text in files.items():
        (tmp_path / name).write_text(text, "utf-8")
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider -p no:randomly\n")
    done = subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, "3 passed" in done.stdout) == (0, True), done.stdout + done.stderr


def test_the_annotator_of_the_page_needs_nothing_but_the_door() -> None:
    text = PAGE.read_text("utf-8")
    for name, modules in (("acme_from_outside.py", {"portico.plugin"}), ("test_from_outside.py", {"portico.testing"})):
        assert set(re.findall(r"^from (portico\S*)", dict(FILE.findall(text))[name], re.MULTILINE)) == modules
