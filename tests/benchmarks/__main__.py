"""Run every benchmark, each in a process of its own: `make bench`; with `--soak` the long ones: `make bench-soak`.

A benchmark is a module `bench_<topic>.py` (or `soak_<topic>.py`) that prints its figures through `figures.report`. Those
in `growth` measure at several sizes and print through `growth.report_growth`: `--growth`, `make bench-growth`.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
GROWTH = "growth_"


def modules_of(prefix: str) -> dict[str, Path]:
    """Return the file of each benchmark, by topic."""
    found = sorted(HERE.rglob(f"{prefix}_*.py"), key=lambda path: path.name)
    return {path.stem.removeprefix(f"{prefix}_"): path for path in found}


def topics_of(prefix: str) -> dict[str, str]:
    """Return the first line of what each benchmark says of itself, by topic."""
    said = {
        topic: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        for topic, path in modules_of(prefix).items()
    }
    return {topic: text.partition("\n")[0] for topic, text in said.items()}


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command line; its help lists the topics."""
    lists = [
        "\n".join([f"{title}:", *(f"  {topic:<14} {text}" for topic, text in topics_of(prefix).items())])
        for prefix, title in (("bench", "topics"), ("soak", "topics with --soak"))
    ]
    made = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="Measure, one topic after another. Each figure is one JSON object a line on stdout.",
        epilog="\n\n".join(lists),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("topics", nargs="*", metavar="TOPIC", help="what to measure (everything)")
    kinds = made.add_mutually_exclusive_group()
    kinds.add_argument("--soak", action="store_true", help="the long ones: under minutes of steady load")
    kinds.add_argument("--growth", action="store_true", help="how costs grow: once, ten and a hundred times the work")
    return made


def main(arguments: list[str]) -> int:
    """Run what is asked for. Returns 1 if one of them failed, 2 for a topic that there is not."""
    asked = parser().parse_args(arguments)
    prefix = "soak" if asked.soak else "bench"
    known = modules_of(prefix)
    unknown = [topic for topic in asked.topics if topic not in known]
    if unknown:
        print(f"no such topic: {', '.join(unknown)}; there are {', '.join(known)}", file=sys.stderr)
        return 2
    failed = 0
    every = [topic for topic in known if topic.startswith(GROWTH) == asked.growth]
    for topic in asked.topics or every:
        print(f"measuring: {prefix}_{topic}", file=sys.stderr, flush=True)
        module = ".".join(["tests", "benchmarks", *known[topic].relative_to(HERE).with_suffix("").parts])
        failed += subprocess.run([sys.executable, "-m", module], check=False).returncode != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
