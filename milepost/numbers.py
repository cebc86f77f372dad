"""The largest number that every reader keeps."""

from __future__ import annotations

# Of whole numbers in JSON, in JavaScript and in a float: no step, sequence or count is larger.
MAX_NUMBER = 2**53 - 1
