"""A trial gets all that differs between hosts when it is made."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def test_whoever_runs_a_trial_sets_nothing_of_it() -> None:
    """What differs between a managed run, a script and a silent rank is in the host that the trial is made with."""
    folder = ROOT / "milepost" / "training"
    found = []
    for module in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_text())):
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            for target in targets:
                owner = target.value if isinstance(target, ast.Attribute) else None
                name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
                if name in {"trial", "_trial"}:
                    found.append((module.relative_to(folder).as_posix(), ast.unparse(node)))
    assert found == []
