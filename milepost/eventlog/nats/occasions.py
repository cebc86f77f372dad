"""How often something is said of one speaker: whoever sends many odd messages must not fill the logs."""

from __future__ import annotations

# Lines of one speaker; then one where their count has become ten times as large.
SAID_ALWAYS = 10
# Speakers that are counted at once. The one that was counted first is forgotten.
MAX_SPEAKERS = 10_000


class Occasions:
    """Counts what is to be said by speaker, and tells when to say it."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def next(self, speaker: str) -> int:
        """Count one more. Returns how many it were so far, where that is to be said; otherwise 0."""
        if speaker not in self._counts and len(self._counts) >= MAX_SPEAKERS:
            del self._counts[next(iter(self._counts))]
        count = self._counts[speaker] = self._counts.get(speaker, 0) + 1
        return count if count <= SAID_ALWAYS or _is_power_of_ten(count) else 0


def _is_power_of_ten(count: int) -> bool:
    return str(count).rstrip("0") == "1"
