"""What a snapshot can hold: what `torch.load(weights_only=True)` gives back as it was.

That is decided by the exact type. An `IntEnum` is an `int` and `torch.__version__` a `str`, but both are pickled by the
name of their class, which the reading side refuses: the snapshot would be published, and fail at the resume.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Iterable, Iterator, Set
from pathlib import Path
from typing import Any

from milepost.training.user_code.entrypoint import PRIVATE_MODULE

# Written in one piece, whatever their value.
_ATOMS = frozenset({type(None), bool, float, complex, str, bytearray})
_SEQUENCES = frozenset({list, tuple, set})
_MAPPINGS = frozenset({dict, OrderedDict, Counter})
# The reading side knows integers whose length fits into one byte.
_MAX_INTEGER = 1 << (8 * 255 - 1)
# What to write instead, by the class that a refused one comes from.
_HINTS: tuple[tuple[str, str], ...] = (
    ("TorchVersion", "save str(...) of it"),
    ("Enum", "save its value: int(...), or its .value"),
    ("ndarray", "save torch.from_numpy(...) of it"),
    ("generic", "save .item() of it"),
    ("frozenset", "save a set or a list"),
    ("Module", "save its state_dict()"),
    ("Optimizer", "save its state_dict()"),
    ("LRScheduler", "save its state_dict()"),
    ("torch._C.Generator", "save its get_state()"),
    ("numpy.random._generator.Generator", "save its bit_generator.state"),
    ("PurePath", "save str(...) of it"),
    ("Mapping", "save dict(...) of it"),
    ("dict", "save dict(...) of it"),
    ("tuple", "save tuple(...) of it"),
    ("list", "save list(...) of it"),
    ("set", "save set(...) of it"),
    ("str", "save str(...) of it"),
    ("int", "save int(...) of it"),
    ("float", "save float(...) of it"),
)

# A place in the state: the one that holds it, and how it is reached from there.
_Place = tuple["_Place", str] | None


class StateNotSavable(TypeError):
    """The state holds something that could not be loaded again without running code from the file."""


def check_savable(value: Any, name: str = "state") -> None:
    """Check that `torch.load(weights_only=True)` will take a state and give it back equal.

    Looks at types, never into tensors: about a microsecond a value, far less where a list holds numbers only.

    Raises:
        StateNotSavable: names the first place that is neither tensor nor plain value, as `state['epoch']`.
    """
    import torch

    plain = _ATOMS | {torch.Size, torch.dtype, torch.device, torch.layout}
    tensors = {torch.Tensor, torch.nn.Parameter}
    trusted = {kind if isinstance(kind, type) else None for kind in torch.serialization.get_safe_globals()}
    seen: set[int] = set()
    waiting: list[tuple[Any, _Place]] = [(value, None)]
    while waiting:
        one, place = waiting.pop()
        kind = type(one)
        if kind in plain or kind in trusted:
            continue
        if kind is int:
            if not -_MAX_INTEGER <= one < _MAX_INTEGER:
                raise StateNotSavable(f"{_path(name, place)}: an integer of {one.bit_length():,} bits is too long")
        elif kind is bytes:
            if not one:
                raise StateNotSavable(f"{_path(name, place)}: empty bytes are not read back from a snapshot; save None")
        elif kind in _SEQUENCES or kind in _MAPPINGS:
            if id(one) in seen:
                continue
            seen.add(id(one))
            if kind in _SEQUENCES:
                if not _is_flat(one, plain):
                    waiting += reversed([(inner, (place, f"[{index}]")) for index, inner in enumerate(one)])
            else:
                waiting += reversed(list(_of_mapping(one, place)))
        elif kind in tensors or _is_torch_tensor(torch, kind):
            waiting += _of_attributes(one, place)
        else:
            raise StateNotSavable(f"{_path(name, place)}: {_describe(kind)}")


def check_saved(path: Path, name: str = "state") -> None:
    """Check a file of `torch.save` for classes that `weights_only` refuses, without reading its tensors.

    Raises:
        StateNotSavable: names the classes; where they are in the state is not known here.
    """
    refused = refused_classes(path)
    if refused:
        raise StateNotSavable(f"{name}: holds {', '.join(refused)}, which torch.load(weights_only=True) refuses")


def refused_classes(path: Path) -> list[str]:
    """List the classes and functions in a file of `torch.save` that `torch.load(weights_only=True)` refuses."""
    import torch

    return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(str(path)))


def _is_flat(values: Iterable[Any], plain: Set[type]) -> bool:
    """Tell, quickly, whether a list holds nothing but plain values: it may be the order of a data set."""
    kinds = set(map(type, values)) - plain
    if kinds == {int}:
        return all(type(one) is not int or -_MAX_INTEGER <= one < _MAX_INTEGER for one in values)
    return not kinds


def _of_mapping(one: Any, place: _Place) -> Iterator[tuple[Any, _Place]]:
    for key, inner in one.items():
        if type(key) is not str:
            yield key, (place, f" (key {key!r})")
        yield inner, (place, f"[{key!r}]")
    yield from _of_attributes(one, place)


def _of_attributes(one: Any, place: _Place) -> Iterable[tuple[Any, _Place]]:
    """What was hung on an object is written with it, such as the `_metadata` of a `state_dict`."""
    attributes = getattr(one, "__dict__", None) or {}
    return [(inner, (place, f".{key}")) for key, inner in attributes.items()]


def _is_torch_tensor(torch: Any, kind: type) -> bool:
    """Return whether PyTorch itself made a kind of tensor; whether it can be read back is seen in the file."""
    return issubclass(kind, torch.Tensor) and kind.__module__.partition(".")[0] == "torch"


def _path(name: str, place: _Place) -> str:
    parts: list[str] = []
    while place is not None:
        place, part = place
        parts.append(part)
    return name + "".join(reversed(parts))


def _describe(kind: type) -> str:
    lineage = [base.__name__ for base in kind.__mro__[1:-1]]
    full = (
        kind.__qualname__
        if kind.__module__ in ("builtins", "__main__", PRIVATE_MODULE)
        else f"{kind.__module__}.{kind.__qualname__}"
    )
    hint = next((f"; {text}" for base, text in _HINTS if base in {kind.__name__, full, *lineage}), "")
    of = next((f" ({base})" for base in lineage if base in ("IntEnum", "StrEnum", "IntFlag", "Enum", "Tensor")), "")
    return f"{full}{of} is not read back from a snapshot{hint}"
