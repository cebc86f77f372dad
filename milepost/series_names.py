"""Names of series: what a key may be. The SDK, the services, imports and integrations all ask here.

A key is text of 1 to 250 characters in Unicode's composed form (NFC), without control characters, surrogates and
separators of lines or paragraphs, and without white space at its ends. Nothing else is changed: two keys are one series
only if they are the same characters. Which of them look alike is for whoever shows them.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

LONGEST = 250
# What a key may be, in words that follow "must be".
FORM = f"1 to {LONGEST} printable characters"
# What begins so is measured by Milepost itself, on each rank.
SYSTEM = "system/"
# Series of one trial: those that its code logs, and those under `system/`, which never take room from the others. A group
# of a thousand ranks with eight GPUs each has some 30,000 of these.
MAX_SERIES = 10_000
MAX_SYSTEM_SERIES = 100_000
# The categories Cc, Cs, Zl and Zp. Unicode never changes which characters these are, so every version agrees.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
# Of the SHA-256 of a name that cannot be kept as it is, in hexadecimal digits.
_DIGEST_LENGTH = 12
# Mappings in mappings that are followed; one that holds itself has no end.
_DEEPEST = 20
_PLAIN = frozenset({float, int, bool})


class BadName(ValueError):
    """Not a name of a series; the text says why."""


def is_printable(text: str) -> bool:
    """Return whether a text has neither control characters nor surrogates nor separators of lines or paragraphs."""
    return _UNPRINTABLE.search(text) is None


def parse(text: str) -> str:
    """Read a key that somebody sent or asks for.

    Raises:
        BadName: it is none.
    """
    key = _normalized(text)
    if not key:
        raise BadName("it is empty")
    if len(key) > LONGEST:
        raise BadName(f"it has {len(key):,} characters, more than {LONGEST}")
    found = _UNPRINTABLE.search(key)
    if found is not None:
        raise BadName(f"it has the character U+{ord(found[0]):04X}")
    return key


def text_of(name: object) -> str:
    """Return what a name says. A member of an enum of strings is its value, as it is as the key of a dictionary."""
    return str.__str__(name) if isinstance(name, str) else str(name)


def key_of(name: object) -> str:
    """Return the key under which values of any name are kept. It always finds one, and never the same one for two names.

    What cannot be a key is shown with escapes, cut, and told from others by a digest of the whole name at its end.
    """
    text = _normalized(text_of(name))
    if 0 < len(text) <= LONGEST and is_printable(text):
        return text
    shown = _UNPRINTABLE.sub(_escape, text) or "_"
    digest = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:_DIGEST_LENGTH]
    return f"{shown[: LONGEST - _DIGEST_LENGTH - 1]}~{digest}"


def flat(values: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Name what is in nested mappings by its path: `{"train": {"loss": 1.0}}` is `{"train/loss": 1.0}`."""
    for value in values.values():
        if type(value) not in _PLAIN and _is_mapping(type(value)):  # type: ignore[arg-type]
            return dict(_walk(values, _DEEPEST))
    return values


@lru_cache(maxsize=64)
def _is_mapping(kind: type) -> bool:
    # Asked with each step of values that are tensors, where an abstract class answers slowly.
    return issubclass(kind, Mapping)


def _walk(values: Mapping[Any, Any], depth: int) -> Iterator[tuple[Any, Any]]:
    for name, value in values.items():
        if isinstance(value, Mapping) and depth:
            yield from ((f"{text_of(name)}/{text_of(inner)}", one) for inner, one in _walk(value, depth - 1))
        else:
            yield name, value


def is_kept(text: str, key: str) -> bool:
    """Return whether the key of a name is that name, apart from its form and white space at its ends."""
    return _normalized(text) == key


def _normalized(text: str) -> str:
    return unicodedata.normalize("NFC", text).strip()


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape", "backslashreplace").decode()
