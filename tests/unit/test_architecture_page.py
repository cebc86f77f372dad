"""The pages on how it is built name files, and what is in them: both are there."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    (ROOT / "docs" / f"{name}.md").read_text() for name in ("architecture", "walks", "adding", "decisions", "own-code")
]
FILE = re.compile(r"`((?:milepost|services|trainer|protos)/[\w./]*)`(?: `([A-Z_a-z][\w.]*)`)?")
NAMED = sorted({named for page in PAGES for named in FILE.findall(page)})


def names_in(tree: ast.Module) -> set[str]:
    """Return what a module defines at its top, and `Class.method` for each method."""
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.ClassDef):
            names.add(node.name)
            inside = (one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef))
            names |= {f"{node.name}.{one.name}" for one in inside}
        elif isinstance(node, ast.Assign):
            names |= {one.id for one in node.targets if isinstance(one, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
    return names


def test_both_walks_are_there() -> None:
    assert len(NAMED) > 40
    assert {"Trial.log", "RuntimeService.StopRuntime", "has_effect"} <= {name for _, name in NAMED}


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_what_the_pages_name_is_there(path: str, name: str) -> None:
    file = ROOT / path
    assert file.exists()
    if name:
        assert name in names_in(ast.parse(file.read_text()))


def rooms() -> list[Path]:
    tops = (ROOT / top for top in ("milepost", "services", "trainer", "tests"))
    return sorted({module.parent for top in tops for module in top.rglob("*.py")})


def test_no_room_is_a_hall() -> None:
    """At most fifteen modules lie beside each other; generated ones lie where protos put them."""
    for room in rooms():
        modules = [one.name for one in room.glob("*.py") if one.name != "__init__.py" and "_pb2" not in one.name]
        assert len(modules) <= 15, (room, modules)


@pytest.mark.parametrize("room", [room for room in rooms() if room.relative_to(ROOT).parts[0] != "tests"], ids=str)
def test_a_room_has_a_map_that_names_all_that_lies_in_it(room: Path) -> None:
    """Its `__init__.py` says which file to open for what. Generated code needs none."""
    if "api" in room.relative_to(ROOT).parts[:2]:
        return
    modules = {one.stem for one in room.glob("*.py") if one.stem not in ("__init__", "__main__")}
    folders = {one.parent.name for one in room.glob("*/__init__.py")}
    said = ast.get_docstring(ast.parse((room / "__init__.py").read_text())) or ""
    assert sorted(name for name in modules | folders if not re.search(rf"\b{name}\b", said)) == []
