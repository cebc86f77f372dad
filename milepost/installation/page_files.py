"""Whether the page of the gateway has the third-party files that it is made with."""

from __future__ import annotations

import importlib.util
from pathlib import Path

# Written last, into a folder that then replaces the one before: where it is, the others are.
STAMP = Path("vendor") / "stamp.txt"


def page_problem(web: Path | None = None) -> str:
    """Say that the page cannot work and what to do; empty where it can, or where no gateway is installed.

    `web`: the folder of the page; None: that of the services that are installed.
    """
    if web is None:
        found = importlib.util.find_spec("services.gateway") if importlib.util.find_spec("services") else None
        if found is None or found.origin is None:
            return ""
        web = Path(found.origin).parent / "web"
    if (web / STAMP).is_file():
        return ""
    return (
        f"the page lacks its third-party files ({web / 'vendor'}): `make vendor` in a checkout fetches them; "
        "an installed package lacks them only if it was built without its build hook"
    )
