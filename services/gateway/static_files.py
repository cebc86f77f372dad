"""The files of the page as they are sent: without their comments and indentation, compressed once each.

A style sheet that imports others is sent with them in it: one answer for a page, whatever it is made of.
"""

from __future__ import annotations

import re
import threading
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import anyio.to_thread
import brotli
from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Scope

from services.gateway.compression import accepted_encodings

TEXTS = frozenset({".js", ".css"})
# Lines that are nothing but a comment, of one line or of several. A licence (`/*!`) stays.
COMMENT_LINES = re.compile(r"^[ \t]*(?://.*|/\*(?!!)(?:[^*]|\*(?!/))*\*/[ \t]*)$", re.MULTILINE)
# What a value is taken for, said inside of a line.
CASTS = re.compile(r"/\*\* @type {[^\n]*?} \*/ ")
INDENTATION = re.compile(r"^[ \t]+", re.MULTILINE)
# A module whose texts of several lines are elements: to them an indentation is nothing.
ELEMENTS = re.compile(r"^import .* from '\.\./html\.js'$", re.MULTILINE)
# Of a style sheet beside the one that says it.
IMPORTS = re.compile(r"^@import '([\w.]+)';$", re.MULTILINE)


def static_files(folder: Path) -> ASGIApp:
    """Serve a folder of the page."""
    files = _PageFiles(directory=folder, check_dir=False)
    # The first visitor does not wait for it.
    threading.Thread(target=_compress_all, args=(folder,), name="compress", daemon=True).start()
    return GZipMiddleware(files, minimum_size=500, compresslevel=6)


def without_comments(text: str) -> str:
    """Empty the lines that are comments: a tenth of the page. What the browser says of a line is still of that line."""
    return CASTS.sub("", COMMENT_LINES.sub(lambda found: "\n" * found[0].count("\n"), text))


def without_indentation(file: Path, text: str) -> str:
    """Begin each line at its first sign, where that changes nothing: in style sheets, and in modules of elements."""
    return INDENTATION.sub("", text) if file.suffix == ".css" or ELEMENTS.search(text) else text


def parts_of(file: Path) -> list[Path]:
    """Return a file and the style sheets that it imports, which import none themselves."""
    if file.suffix != ".css":
        return [file]
    return [file, *(file.parent / name for name in IMPORTS.findall(file.read_text(encoding="utf-8")))]


class _PageFiles(StaticFiles):
    """The files of the page. They are asked for with their ETag each time: an update shows at once."""

    def file_response(self, full_path: Any, stat_result: Any, *args: Any, **kwargs: Any) -> Response:
        stats = [stat_result, *(part.stat() for part in parts_of(Path(full_path))[1:])]
        if len(stats) > 1:
            # The ETag is that of all that is sent.
            newest, size = max(one.st_mtime for one in stats), sum(one.st_size for one in stats)
            stat_result = SimpleNamespace(st_mtime=newest, st_size=size)
        response = super().file_response(full_path, stat_result, *args, **kwargs)
        response.headers["cache-control"] = "no-cache"
        return response

    async def get_response(self, path: str, scope: Scope) -> Response:
        """Answer with brotli at its best where that is understood."""
        response = await super().get_response(path, scope)
        if not isinstance(response, FileResponse) or Path(path).suffix not in TEXTS:
            return response
        file = Path(response.path)
        headers = {name: response.headers[name] for name in ("cache-control", "etag", "last-modified")}
        modified = _modified(file)
        if "br" not in accepted_encodings(Headers(scope=scope)):
            return Response(_sent(file, modified), headers=headers, media_type=response.media_type)
        headers |= {"content-encoding": "br", "vary": "accept-encoding"}
        body = await anyio.to_thread.run_sync(_compressed, file, modified)
        return Response(body, headers=headers, media_type=response.media_type)


def _modified(file: Path) -> int:
    return max(part.stat().st_mtime_ns for part in parts_of(file))


@lru_cache(maxsize=512)
def _sent(file: Path, modified: int) -> bytes:
    text = IMPORTS.sub(lambda found: (file.parent / found[1]).read_text("utf-8"), file.read_text("utf-8"))
    return without_indentation(file, without_comments(text)).encode()


@lru_cache(maxsize=512)
def _compressed(file: Path, modified: int) -> bytes:
    return bytes(brotli.compress(_sent(file, modified), mode=brotli.MODE_TEXT, quality=11))


def _compress_all(folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.suffix in TEXTS:
            _compressed(file, _modified(file))
