"""Names of the headers of telemetry: what a batch says of itself, so that readers of progress need not decode it.

Whole numbers are decimal, times are milliseconds since 1970. Headers that a reader does not know are passed over.
"""

from __future__ import annotations

from typing import Final

# Who numbers the batch, and its number among those of this sender.
SOURCE: Final = "mp-source"
NUMBER: Final = "mp-number"
# The last number that the sender has written down; what is missing below it is missing.
WRITTEN: Final = "mp-written"
# The sender has ended with this number.
END: Final = "mp-end"
# How many there are in it.
POINTS: Final = "mp-points"
LINES: Final = "mp-lines"
# When it was cut, and how long the loop was not computing steps since the one before.
TIME: Final = "mp-time"
BUSY_MS: Final = "mp-busy-ms"
# Where the trial is.
STEP: Final = "mp-step"
EPOCH: Final = "mp-epoch"
BATCH: Final = "mp-batch"
PHASE: Final = "mp-phase"
EPOCH_BATCHES: Final = "mp-epoch-batches"
EVAL_BATCH: Final = "mp-eval-batch"
EVAL_BATCHES: Final = "mp-eval-batches"
SKIPPED: Final = "mp-skipped"
TO_SKIP: Final = "mp-to-skip"
SAMPLES: Final = "mp-samples"
# Which steps are in it, and the median time of one.
FIRST_STEP: Final = "mp-first-step"
LAST_STEP: Final = "mp-last-step"
STEP_MS: Final = "mp-step-ms"
# Followed by the name of a series: its last value.
LAST_VALUE: Final = "mp-last-"
