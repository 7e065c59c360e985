"""The pages of docs/: every settings file shown is right, and every link leads somewhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(str(page.relative_to(ROOT)) for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "certs" / "README.md"])
_BLOCK = re.compile(r"^```toml\n(.*?)^```", re.DOTALL | re.MULTILINE)
SHOWN = [
    pytest.param(page, text, id=f"{page}-{number}")
    for page in PAGES
    for number, text in enumerate(_BLOCK.findall((ROOT / page).read_text("utf-8")), 1)
    if "[listeners." in text and "[servers." in text and page != "docs/how-to/write-a-plugin.md"  # its plugin: test_write_a_plugin.py
]


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("shown")
    command = [sys.executable, "-m", "portico", "certs", "new", str(directory), "--name", "mail.example.org"]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    subprocess.run([*command[:4], "revoke", str(directory)], check=True, capture_output=True, timeout=60)
    return directory


@pytest.mark.parametrize(("page", "text"), SHOWN)
def test_a_settings_file_that_is_shown_is_right_as_it_stands(page: str, text: str, certificates: Path, tmp_path: Path) -> None:
    for name in set(re.findall(r'"([\w/-]+\.(?:pem|key))"', text)):
        kind = "ca.pem" if "ca" in Path(name).stem.split("-") else "crl.pem" if "crl" in name else "server.pem"
        kind = "server.key" if name.endswith(".key") or "privkey" in name else kind
        made = tmp_path / name
        made.parent.mkdir(parents=True, exist_ok=True)
        made.write_bytes((certificates / kind).read_bytes())
        made.chmod(0o600)
    (tmp_path / "master-password").write_text("secret\n")
    (tmp_path / "master-password").chmod(0o600)
    for directory in re.findall(r'"(/[\w/-]+)/[\w.-]+"', text):
        if not Path(directory).is_dir():  # one that the page has the reader's system make
            (tmp_path / "stands-for").mkdir(exist_ok=True)
            text = text.replace(f'"{directory}/', f'"{tmp_path}/stands-for/')
    file = tmp_path / "portico.toml"
    file.write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "portico", "check", "-c", str(file)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={"PATH": "/usr/bin:/bin", "ARCHIVE_PASSWORD": "secret"},
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_are_settings_files_to_check() -> None:
    assert len(SHOWN) >= 5


def _anchors(page: Path) -> set[str]:
    """As the usual hosts make them from headings."""
    headings = re.findall(r"^#+ (.*)$", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    source = ROOT / page
    for path, _, anchor in (link.partition("#") for link in re.findall(r"\]\((?!https?:)([^)]+)\)", source.read_text("utf-8"))):
        target = source.parent / path if path else source
        assert target.exists(), path
        if anchor:
            assert anchor in _anchors(target), f"{path}#{anchor}"


def test_every_page_of_docs_is_reached_from_its_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text("utf-8")
    linked = set(re.findall(r"\]\((?!https?:)([^)#]+)", index))
    pages = {str(page.relative_to(ROOT / "docs")) for page in (ROOT / "docs").glob("**/*.md")} - {"README.md"}
    decisions = {page for page in pages if page.startswith("decisions/")}
    assert pages - decisions - linked == set()
