"""What of the page's files crosses the wire."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
from starlette.applications import Starlette
from starlette.routing import Mount

from services.gateway.static_files import ELEMENTS, IMPORTS, TEXTS, static_files, without_comments, without_indentation

WEB = Path(__file__).resolve().parent.parent.parent.parent / "services" / "gateway" / "web"


def test_only_lines_that_are_comments_are_emptied_and_the_others_keep_their_numbers() -> None:
    assert without_comments("/** Two\n * lines. */\nlet a = 1 // said\n  // of b\n") == "\n\nlet a = 1 // said\n\n"
    assert without_comments("/* of c */ .c {\n  /* of it */\n}") == "/* of c */ .c {\n\n}"
    assert without_comments("let a = /** @type {A} */ (b) // said\n") == "let a = (b) // said\n"
    kept = "/*! licence */\nexport const place = 'https://host'\n"
    assert without_comments(kept) == kept
    for file in WEB.rglob("*"):
        if file.suffix not in TEXTS:
            continue
        written = file.read_text().splitlines()
        sent = without_comments(file.read_text()).splitlines()
        assert len(sent) == len(written), file
        uncast = [re.sub(r"/\*\* @type {.*?} \*/ (?=\S)", "", line) for line in written]
        changed = [theirs.strip() for ours, theirs in zip(sent, uncast, strict=True) if ours != theirs]
        assert all(line.startswith(("//", "/*", "*")) or line.endswith("*/") for line in changed), file


def test_indentation_stays_where_it_may_be_of_a_text() -> None:
    assert without_indentation(Path("a.css"), ".a {\n  top: 0;\n}\n") == ".a {\ntop: 0;\n}\n"
    text = "export const program = `if a:\n    b()`\n"
    assert without_indentation(Path("a.js"), text) == text
    element = "import { html } from '../html.js'\nexport const one = html`<p>\n  two\n</p>`\n"
    assert without_indentation(Path("a.js"), element) == element.replace("  two", "two")


CODE = re.compile(
    r"""(?<!\\)//[^\n]*|/\*.*?\*/|'(?:[^'\\\n]|\\.)*'|"(?:[^"\\\n]|\\.)*"|{|}|`""",
    re.DOTALL,
)
TEMPLATE = re.compile(r"\\.|\${|`")


def templates(text: str) -> Iterator[tuple[str, str]]:
    """Yield what stands before each template of a module, and all that is in it."""
    # Where each begins, and how many braces are open around it.
    opened: list[tuple[int, int]] = []
    braces = at = 0
    while found := (TEMPLATE if (inside := bool(opened) and opened[-1][1] == braces) else CODE).search(text, at):
        at = found.end()
        if found[0] == "`" and inside:
            start, _ = opened.pop()
            yield text[:start], text[start + 1 : found.start()]
        elif found[0] == "`":
            opened.append((found.start(), braces))
        elif found[0] in ("${", "{"):
            braces += 1
        elif found[0] == "}":
            braces -= 1
    assert not opened and braces == 0


def test_texts_of_several_lines_are_elements_in_each_module_of_elements() -> None:
    """What is sent of such a module has no indentation: a text of several lines in it would be another text."""
    assert [inner for _, inner in templates("a(`b${c({ d: `e` })}`, html`f`)")] == ["e", "b${c({ d: `e` })}", "f"]
    modules = [file for file in WEB.rglob("*.js") if ELEMENTS.search(file.read_text())]
    assert len(modules) > 30
    for file in modules:
        for before, inner in templates(file.read_text()):
            assert before.endswith("html") or "\n" not in inner, (file.name, inner)


async def test_a_sheet_is_sent_with_what_it_imports_and_anew_when_a_part_of_it_changed(tmp_path: Path) -> None:
    (tmp_path / "page.css").write_text("@layer base;\n@import 'bar.css';\n@import 'row.css';\n")
    (tmp_path / "bar.css").write_text("/* the bar */\n.bar {\n  top: 0;\n}\n")
    (tmp_path / "row.css").write_text(".row {\n  top: 1px;\n}\n")
    app = Starlette(routes=[Mount("/", static_files(tmp_path))])
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://page") as client:
        first = await client.get("/page.css")
        known = {"if-none-match": first.headers["etag"]}
        same = await client.get("/page.css", headers=known)
        os.utime(tmp_path / "row.css", (1, 4_000_000_000))
        (tmp_path / "row.css").write_text(".row {\n  top: 2px;\n}\n")
        os.utime(tmp_path / "row.css", (1, 4_000_000_000))
        changed = await client.get("/page.css", headers=known)

    assert first.text == "@layer base;\n\n.bar {\ntop: 0;\n}\n\n.row {\ntop: 1px;\n}\n\n"
    assert same.status_code == 304
    assert changed.status_code == 200 and "top: 2px" in changed.text


def test_each_style_sheet_is_part_of_what_a_page_links() -> None:
    """A component's sheet that no page imports would do nothing, and an import of none would break the page."""
    css = WEB / "css"
    # A module of elements may link one that the page begins without.
    texts = [path.read_text() for path in (*WEB.glob("*.html"), *WEB.glob("*.js"), *WEB.glob("elements/**/*.js"))]
    linked = {name for text in texts for name in re.findall(r"/static/css/([\w.]+)", text)}
    imported = {name for name in linked for name in IMPORTS.findall((css / name).read_text())}
    assert linked | imported == {path.name for path in css.glob("*.css")}
