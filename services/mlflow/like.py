"""Texts that are like a pattern: `%` stands for anything, `_` for one character. Never goes back in the text. Pure."""

from __future__ import annotations

from services.mlflow.errors import invalid

MAX_PATTERN = 1_000


class Like:
    """A pattern of `LIKE`, or of `ILIKE`.

    All ways to read a text are followed at once, a bit each: the work is that of one pass over the text, whatever the
    pattern says. A regular expression made of many `%` would try one way after another, and never come to an end.

    Raises:
        InvalidArgument: the pattern is longer than `MAX_PATTERN` characters.
    """

    def __init__(self, pattern: str, ignore_case: bool = False) -> None:
        if len(pattern) > MAX_PATTERN:
            raise invalid("filter", f"a pattern must not be longer than {MAX_PATTERN:,} characters")
        self._ignore_case = ignore_case
        pattern = pattern.lower() if ignore_case else pattern
        # Bit i: what has been read ends before the i-th character that is not `%`.
        self._any = self._stays = 0
        self._wanted: dict[str, int] = {}
        place = 0
        for character in pattern:
            if character == "%":
                self._stays |= 1 << place
                continue
            if character == "_":
                self._any |= 1 << place
            else:
                self._wanted[character] = self._wanted.get(character, 0) | 1 << place
            place += 1
        self._end = 1 << place

    def matches(self, text: str) -> bool:
        """Return whether the whole of a text is like the pattern."""
        ways = 1
        for character in text.lower() if self._ignore_case else text:
            ways = (ways & (self._wanted.get(character, 0) | self._any)) << 1 | ways & self._stays
            if not ways:
                return False
        return bool(ways & self._end)
