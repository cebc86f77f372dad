"""The configuration of a runtime: from text to a resolved message and back.

Three forms exist. *Text* is YAML or JSON as a person wrote it. The *plain* form is what that text says: dicts, lists,
text and numbers. The *message* is `RuntimeConfiguration`, resolved: every default filled in. Everything here is pure.
"""

from __future__ import annotations

from milepost.configuration.continuation import DURATION_PARAMETERS, Continuation, continue_with, merge
from milepost.configuration.fields import CONFIGURATION, schema
from milepost.configuration.plain import (
    MAXIMUM_DEPTH,
    MAXIMUM_STEP,
    MAXIMUM_TEXT_BYTES,
    MAXIMUM_TRIALS,
    Plain,
    scalar_text,
    scalar_value,
)
from milepost.configuration.resolution import resolve, resolve_message, resolve_text
from milepost.configuration.search import TrialParameters, expand
from milepost.configuration.shown import canonical_json, digest, to_plain
from milepost.configuration.text import parse_text

__all__ = [
    "CONFIGURATION",
    "DURATION_PARAMETERS",
    "MAXIMUM_DEPTH",
    "MAXIMUM_STEP",
    "MAXIMUM_TEXT_BYTES",
    "MAXIMUM_TRIALS",
    "Continuation",
    "Plain",
    "TrialParameters",
    "canonical_json",
    "continue_with",
    "digest",
    "expand",
    "merge",
    "parse_text",
    "resolve",
    "resolve_message",
    "resolve_text",
    "scalar_text",
    "scalar_value",
    "schema",
    "to_plain",
]
