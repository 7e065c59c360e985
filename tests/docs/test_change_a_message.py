"""docs/how-to/write-a-plugin.md, the section on transformers: what it shows is written down and its tests are run."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "write-a-plugin.md"
FILE = re.compile(r"`([\w.]+)`[^`\n]*:\n\n```python\n(.*?)```", re.DOTALL)


def test_the_transformer_of_the_page_passes_its_tests_and_needs_nothing_but_the_door(tmp_path: Path) -> None:
    section = PAGE.read_text("utf-8").partition("\n## Change a message: dearer\n")[2].partition("\n## ")[0]
    files = dict(FILE.findall(section))
    assert list(files) == ["acme_subject_tag.py", "test_subject_tag.py"]
    for (name, text), modules in zip(files.items(), ({"portico.plugin"}, {"portico.testing"}), strict=True):
        (tmp_path / name).write_text(text, "utf-8")
        assert set(re.findall(r"^from (portico\S*)", text, re.MULTILINE)) == modules
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider -p no:randomly\n")
    done = subprocess.run([sys.executable, "-m", "pytest", "-q"], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, "3 passed" in done.stdout) == (0, True), done.stdout + done.stderr
