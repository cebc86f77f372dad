"""What a command runs, in a word: the script, not the interpreter or the launcher in front of it."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import PurePath


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_INTERPRETER = re.compile(r"(python|pypy)[\d.]*w?|ipython3?|bash|sh|dash|zsh|ksh|fish|Rscript|julia|node|perl|ruby")
_SHELLS = ("bash", "sh", "dash", "zsh", "ksh", "fish")
# They are given a script, or a whole command.
_LAUNCHERS = _words(
    "accelerate torchrun deepspeed horovodrun mpirun mpiexec srun composer colossalai env nice nohup time "
    "timeout stdbuf taskset numactl setsid sudo ionice chrt strace uv uvx poetry pipenv pdm hatch pixi conda "
    "mamba micromamba coverage kernprof scalene memray py-spy nsys ncu xvfb-run exec command jupyter "
    "papermill ray debugpy"
)
# Modules that run another script.
_LAUNCHING_MODULES = _words(
    "torch.distributed.run torch.distributed.launch torch.utils.bottleneck accelerate "
    "accelerate.commands.launch accelerate.commands.accelerate_cli deepspeed.launcher.runner cProfile profile "
    "pdb ipdb trace debugpy coverage kernprof scalene memray runpy viztracer"
)
_SCRIPT = re.compile(r"[^-].*\.(py|pyw|pyc|sh|bash|zsh|ipynb|jl|R|r|js|mjs|pl|rb|lua)")
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_MODULE_OPTIONS = ("-m", "--module")
_SEPARATORS = ("&&", "||", ";", "|", "&", "(", ")", "\n")
# Options of interpreters that take the word after them.
_VALUED = ("-W", "-X", "-o", "-O", "--rcfile", "--init-file")


def name_of(command: Sequence[str]) -> str:
    """Name a command by the script or module that it runs; by its program where there is none.

    >>> name_of(["torchrun", "--nproc-per-node=2", "src/train.py", "--epochs", "3"])
    'train.py'
    """
    return _found(command) or _base(next((word for word in command if not _ASSIGNMENT.fullmatch(word)), command[0]))


def name_of_this_script() -> str:
    """Name the script or module that this process runs."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    if spec is not None and spec.name and not spec.name.startswith("ipykernel"):
        return str(spec.name).removesuffix(".__main__")
    program = PurePath(sys.argv[0]).name if sys.argv else ""
    if program.startswith(("ipykernel", "colab_kernel")):
        return "notebook"
    return program.removeprefix("-") if program not in ("", "-c") else "script"


def _found(command: Sequence[str]) -> str:
    """Return the script or module that is run; empty where none can be told."""
    words = list(command)
    while words and _ASSIGNMENT.fullmatch(words[0]):
        words.pop(0)
    if not words:
        return ""
    program, rest = _base(words[0]), words[1:]
    if _SCRIPT.fullmatch(program):
        return program
    if _INTERPRETER.fullmatch(program):
        return _interpreted(program, rest)
    if program in _LAUNCHERS:
        return _launched(rest)
    return _commanded(rest)


def _interpreted(program: str, words: Sequence[str]) -> str:
    """Name what an interpreter runs: of its own options only those that say what it is matter."""
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if re.fullmatch(r"-[bBdEiIOPqsSuvx]*m", word) and rest and program not in _SHELLS:
            return _module(rest)
        if program in _SHELLS and re.fullmatch(r"-[a-z]*c", word):
            return _of_text(rest[0]) if rest else ""
        if re.fullmatch(r"-([bBdEiIOPqsSuvx]*[ce])?", word):
            return ""
        if word in _VALUED:
            rest = rest[1:]
        elif not word.startswith("-"):
            return _base(word)
    return ""


def _module(words: Sequence[str]) -> str:
    return _launched(words[1:]) if words[0] in _LAUNCHING_MODULES else words[0]


def _launched(words: Sequence[str]) -> str:
    """Name what a launcher is given, behind options of its own."""
    for index, word in enumerate(words):
        if word in _MODULE_OPTIONS and index + 1 < len(words):
            return _module(words[index + 1 :])
        base = _base(word)
        if _INTERPRETER.fullmatch(base) or base in _LAUNCHERS:
            return _found(words[index:])
        if _SCRIPT.fullmatch(word):
            return base
    return ""


def _commanded(words: Sequence[str]) -> str:
    """Name what an unknown program runs, if it is handed another command."""
    for index, word in enumerate(words):
        base = _base(word)
        if _INTERPRETER.fullmatch(base) or base in ("torchrun", "accelerate", "deepspeed"):
            return _found(words[index:])
    return ""


def _of_text(text: str) -> str:
    """Name what a line for a shell runs: the first of its commands that runs a script."""
    lexer = shlex.shlex(text.replace("\n", " ; "), posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        words = list(lexer)
    except ValueError:
        return ""
    commands: list[list[str]] = [[]]
    for word in words:
        if word in _SEPARATORS:
            commands.append([])
        else:
            commands[-1].append(word)
    return next((name for name in map(_found, filter(None, commands)) if name), "")


def _base(word: str) -> str:
    return PurePath(word).name or word
