"""The configuration of a runtime: from text to a resolved message and back.

Three forms exist. *Text* is YAML or JSON as a person wrote it. The *plain* form is what that text says: dicts, lists,
text and numbers. The *message* is `RuntimeConfiguration`, resolved: every default filled in. Everything here is pure.

- `text` and `plain`: from text to the plain form. `resolution`: from there to the message, by `fields`, which says of each
  field what it may be (`specs`, `words`); start there. `searching` judges what holds between the fields of a search.
- `shown`: back to what people see. `secrecy`: what looks like a secret.
- `search`: the trials of a grid; `conditions`: parameters that only some of them have; `perturbing`: parameters near those
  of another trial.
- `continuation`, `branching`: what a resume and a branch may change. `watching`: rules that a run brings with it.
"""

from __future__ import annotations

from milepost.configuration.branching import Branched, branch_with, patch_violations
from milepost.configuration.continuation import DURATION_PARAMETERS, Continuation, continue_with, merge
from milepost.configuration.fields import CONFIGURATION, schema
from milepost.configuration.perturbing import perturb
from milepost.configuration.plain import (
    MAX_DEPTH,
    MAX_TEXT_BYTES,
    MAX_TRIALS,
    Plain,
    scalar_text,
)
from milepost.configuration.resolution import resolve, resolve_message, resolve_pruner, resolve_text
from milepost.configuration.search import TrialParameters, adapts, expand, has_sampler, left_out, point_of, trial_count
from milepost.configuration.secrecy import comments_are_secret, redact, secret_violations
from milepost.configuration.shown import canonical_json, digest, given_plain, to_plain, to_text
from milepost.configuration.text import parse_text, write_text

__all__ = [
    "CONFIGURATION",
    "DURATION_PARAMETERS",
    "MAX_DEPTH",
    "MAX_TEXT_BYTES",
    "MAX_TRIALS",
    "Branched",
    "Continuation",
    "Plain",
    "TrialParameters",
    "adapts",
    "branch_with",
    "canonical_json",
    "comments_are_secret",
    "continue_with",
    "digest",
    "expand",
    "given_plain",
    "has_sampler",
    "left_out",
    "merge",
    "parse_text",
    "patch_violations",
    "perturb",
    "point_of",
    "redact",
    "resolve",
    "resolve_message",
    "resolve_pruner",
    "resolve_text",
    "scalar_text",
    "schema",
    "secret_violations",
    "to_plain",
    "to_text",
    "trial_count",
    "write_text",
]
