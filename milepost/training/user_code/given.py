"""What user code hands over: numbers, texts and mappings of any kind, as what a record can hold.

Nothing here raises, whatever it is given: an object of somebody else's may fail in any way when it is asked what it is,
and a value that cannot be recorded must not end a training that can go on.
"""

from __future__ import annotations

import argparse
import dataclasses
import math
import operator
import types
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

Answer = TypeVar("Answer")


def ask(question: Callable[[], Answer], otherwise: Answer) -> Answer:
    """Ask an object of the user's for something, and have another answer where it fails."""
    try:
        return question()
    except Exception:
        # Their `__len__`, `__float__` or `__str__` may raise anything. Whoever asks says what became of it.
        return otherwise


def whole(value: Any) -> int | None:
    """Read a whole number of any kind: `3`, `numpy.int64(3)`, `3.0`, a tensor of one whole number. None: it is none."""
    if type(value) is int:
        return value
    index = ask(lambda: operator.index(value), None)
    if index is not None:
        return index
    found = number(value)
    return int(found) if found is not None and found.is_integer() else None


def number(value: Any) -> float | None:
    """Read a number of any kind. None: it is none, or several."""
    try:
        # PyTorch warns of a tensor that still has its gradient.
        return float(value.detach() if hasattr(value, "detach") else value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf
    except Exception:
        # As in `ask`, but arrays of one number in more than one dimension have another way.
        pass
    return ask(lambda: float(value.item()), None)


def single(value: Any) -> Any | None:
    """Return a number or a tensor of one number, which stays on its device. None: it is neither."""
    if ask(lambda: hasattr(value, "detach"), False):
        return ask(lambda: value.detach().reshape(()) if is_real_number(value) else None, None)
    return number(value)


def is_real_number(tensor: Any) -> bool:
    """Return whether a tensor is one real number that can be read."""
    return ask(lambda: tensor.numel() == 1 and not tensor.is_complex() and not tensor.is_meta, False)


def count(value: Any) -> int:
    """Read how many of something were done; 0 where that is no whole number."""
    return max(0, whole(value) or 0)


def total(value: Any) -> int | None:
    """Read how many of something there are to be: a number above 0, rounded up. None: that is not known."""
    found = whole(value)
    if found is None:
        about = number(value)
        found = math.ceil(about) if about is not None and math.isfinite(about) else None
    return found if found is not None and found > 0 else None


def text(value: Any) -> str:
    """Write anything as Unicode text."""
    written = ask(lambda: str(value), "") or ("" if isinstance(value, str) else f"<{type(value).__qualname__}>")
    return written.encode("utf-8", "backslashreplace").decode()


def line(value: Any) -> str:
    """Write anything as one line of text, without control characters."""
    return "".join(c if c.isprintable() else " " for c in text(value)).strip()


def members(value: Any) -> Mapping[Any, Any] | None:
    """Return the named parts of a group of settings: a mapping, a namespace, a record. None: it is no group."""
    return ask(lambda: _members(value), None)


def _members(value: Any) -> Mapping[Any, Any] | None:
    if isinstance(value, Mapping):
        return value
    if isinstance(value, argparse.Namespace | types.SimpleNamespace):
        return vars(value)
    if isinstance(value, type):
        return None
    return _of_dataclass(value) or _of_named_tuple(value) or _of_attrs(value) or _of_pydantic(value)


def group(value: Any) -> Mapping[Any, Any] | None:
    """Return the parts of what is said to be a group of settings, however it tells them. None: it does not."""
    found = members(value)
    if found is None:
        found = ask(lambda: members(value.to_dict()), None)
    if found is None and not isinstance(value, str | bytes):
        # Pairs, or something with `keys` and items.
        found = ask(lambda: dict(value), None)
    return found


def _of_dataclass(value: Any) -> dict[str, Any] | None:
    if not dataclasses.is_dataclass(value):
        return None
    return {f.name: getattr(value, f.name) for f in dataclasses.fields(value) if hasattr(value, f.name)}


def _of_named_tuple(value: Any) -> dict[str, Any] | None:
    return dict(value._asdict()) if isinstance(value, tuple) and hasattr(value, "_asdict") else None


def _of_attrs(value: Any) -> dict[str, Any] | None:
    fields = getattr(type(value), "__attrs_attrs__", None)
    return None if fields is None else {f.name: getattr(value, f.name) for f in fields if hasattr(value, f.name)}


def _of_pydantic(value: Any) -> dict[str, Any] | None:
    fields = getattr(type(value), "model_fields", None)
    return {name: getattr(value, name) for name in fields} if isinstance(fields, dict) else None
