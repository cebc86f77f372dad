"""The pages: what they lead to and name is there, they are all in the index, and their prose fits on a screen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
COLUMNS = 100

FENCE = re.compile(r"^ *```")
LINK = re.compile(r"\]\(([^)\s]*)\)")
CODE = re.compile(r"`[^`]*`")
# What cannot be broken and stands on a line of its own: code, a link, an address.
UNBREAKABLE = re.compile(r"\s*(?:[-*]|\d+\.)?\s*(?:`[^`]+`|!?\[[^]]*\]\([^)]*\)|https?://\S+)[.,:;]?")
FILE = re.compile(r"`((?:milepost|services|trainer|protos|deploy|tests)/[\w./-]+\.\w+)`")
NAME = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*\.[a-z]+")


def outside_fences(page: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines of a page that are no fenced code, with their numbers."""
    fenced = False
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if FENCE.match(line):
            fenced = not fenced
        elif not fenced:
            yield number, line


def prose(page: Path) -> Iterator[tuple[int, str]]:
    """Yield the lines that are neither code nor part of a table."""
    before = ""
    for number, line in outside_fences(page):
        indented_code = line.startswith("    ") and (not before.strip() or before.startswith("    "))
        if not line.startswith("|") and not indented_code:
            yield number, line
        before = line


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub makes them."""
    made: Counter[str] = Counter()
    found = set()
    for _, line in outside_fences(page):
        if line.startswith("#"):
            text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", line.lstrip("#").strip())
            slug = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
            found.add(f"{slug}-{made[slug]}" if made[slug] else slug)
            made[slug] += 1
    return found


def links(page: Path) -> Iterator[tuple[Path, str]]:
    """Yield what a page leads to within the repository: the file, and the anchor or nothing."""
    text = CODE.sub("", "\n".join(line for _, line in outside_fences(page)))
    for target in LINK.findall(text):
        if not re.match(r"[a-z]+:", target):
            path, _, anchor = target.partition("#")
            yield ((page.parent / path).resolve() if path else page), anchor


def of(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=of)
def test_every_link_and_anchor_leads_somewhere(page: Path) -> None:
    for target, anchor in links(page):
        assert target.exists(), f"{target} is not there"
        assert not anchor or anchor in anchors(target), f"{of(target)} has no heading #{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=of)
def test_prose_is_wrapped(page: Path) -> None:
    """Tables may be wider, and what cannot be broken."""
    wide = [
        f"{of(page)}:{number}"
        for number, line in prose(page)
        if len(line) > COLUMNS and not UNBREAKABLE.fullmatch(line)
    ]
    assert not wide


@pytest.mark.parametrize("page", PAGES, ids=of)
def test_the_files_that_a_page_names_are_there(page: Path) -> None:
    missing = [name for name in FILE.findall(page.read_text()) if "*" not in name and not (ROOT / name).exists()]
    assert not missing


def test_files_are_named_in_one_style() -> None:
    """Lower case, with hyphens; a README is what GitHub shows of a folder."""
    files = [path.name for path in DOCS.rglob("*") if path.is_file() and path.name != "README.md"]
    assert files
    assert not [name for name in files if not NAME.fullmatch(name)]


def test_every_page_is_in_the_index() -> None:
    """From the README one comes to the index, and from there to every page."""
    index, guides = DOCS / "README.md", DOCS / "guides" / "README.md"
    assert index in {target for target, _ in links(ROOT / "README.md")}
    listed = {target for page in (index, guides) for target, _ in links(page)}
    assert set(PAGES) - {ROOT / "README.md", index} <= listed
    parts = re.findall(r"^\*\*(.+)\*\*$", index.read_text(), re.MULTILINE)
    assert parts == ["Use it", "Run it", "Understand it", "Measured"]
