"""Generate milepost/api from protos/, or with --verify fail where it is not up to date."""

from __future__ import annotations

import filecmp
import shutil
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
GENERATED = Path("milepost/api")
SUFFIXES = ("_pb2.py", "_pb2.pyi", "_pb2_grpc.py")


def generate(target: Path) -> None:
    """Run protoc for all protos and write the result under a folder.

    Raises:
        SystemExit: protoc failed; it has said why.
    """
    sources = sorted(str(path) for path in PROTOS.rglob("*.proto"))
    outputs = [f"--{kind}_out={target}" for kind in ("python", "pyi", "grpc_python")]
    # The well-known types come with grpcio-tools.
    included = Path(protoc.__file__).parent / "_proto"
    if protoc.main(["protoc", f"-I{PROTOS}", f"-I{included}", *outputs, *sources]) != 0:
        raise SystemExit("protoc failed")
    for path in (target / GENERATED).rglob("*_pb2_grpc.py"):
        # A proto without a service gives an empty one.
        if "class " not in path.read_text():
            path.unlink()


def generated_files(root: Path) -> set[Path]:
    return {path.relative_to(root) for path in (root / GENERATED).rglob("*") if path.name.endswith(SUFFIXES)}


def verify() -> list[Path]:
    """List the files of milepost/api that are missing, differ, or come from no proto."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        wanted, present = generated_files(fresh), generated_files(ROOT)
        differing = {path for path in wanted & present if not filecmp.cmp(fresh / path, ROOT / path, shallow=False)}
        return sorted((wanted ^ present) | differing)


def write() -> None:
    """Replace what is generated in milepost/api."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        generate(fresh)
        wanted = generated_files(fresh)
        for path in generated_files(ROOT) - wanted:
            (ROOT / path).unlink()
        for path in wanted:
            (ROOT / path).parent.mkdir(parents=True, exist_ok=True)
            for package in (ROOT / path).parents:
                if package == ROOT / "milepost":
                    break
                (package / "__init__.py").touch()
            shutil.copyfile(fresh / path, ROOT / path)


if __name__ == "__main__":
    if "--verify" not in sys.argv[1:]:
        write()
    elif stale := verify():
        raise SystemExit("not up to date, run `make protos`:\n" + "\n".join(f"  {path}" for path in stale))
