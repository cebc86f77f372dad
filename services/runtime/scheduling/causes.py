"""Because of what the scheduler does something."""

from __future__ import annotations

from functools import partial

from services.runtime import decisions

ACTOR = "service:scheduler"

because_of = partial(decisions.because_of, ACTOR)
behind = partial(decisions.behind, ACTOR)
