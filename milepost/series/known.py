"""Series that many training libraries have: what they are called, in what they are measured, in which order they are shown.

Pure. The page has the same table in `services/gateway/web/functions/known.js`; a test compares the two.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# Expressions for whole names, in order; `$1` is what the first brackets have found. Then title and unit.
TABLE = (
    ("train/(?:tokens|num_tokens|num_input_tokens_seen)|num_tokens|num_input_tokens_seen", "Tokens seen", "tokens"),
    ("(?:system|train|perf)/tokens_per_second|perf/throughput", "Tokens a second", "tokens/s"),
    ("(?:system|train|perf)/mfu_percent", "MFU", "%"),
    (r"perf/mfu/(\w+)", "MFU: $1", ""),
    ("(?:system|train)/samples_per_second", "Samples a second", "samples/s"),
    ("train/learning_rate|learning_rate", "Learning rate", ""),
    (r"train/learning_rate_(\d+)", "Learning rate, group $1", ""),
    ("train/loss", "Training loss", ""),
    (r"(?:train/)?(?:loss/(\w+))", "Loss: $1", ""),
    (r"(?:train/|actor/|critic/)?(\w+)_loss", "Loss: $1", ""),
    ("train/grad_norm", "Gradient norm", ""),
    ("(?:train/)?reward|critic/rewards/mean", "Reward", ""),
    ("(?:train/)?reward_std", "Reward, spread", ""),
    (r"(?:train/)?rewards/(\w+)/mean", "Reward: $1", ""),
    (r"(?:train/)?rewards/(\w+)/std", "Reward: $1, spread", ""),
    ("(?:train/)?rewards/(chosen|rejected|accuracies|margins)", "Reward: $1", ""),
    ("(?:train/)?(?:objective/)?kl|actor/ppo_kl", "KL divergence", ""),
    ("(?:train/|actor/)?(?:policy/)?entropy", "Entropy", ""),
    (r"(?:train/)?clip_ratio/(\w+)_mean", "Clip fraction: $1", ""),
    ("(?:train/)?clip_(?:ratio|fraction)|actor/pg_clipfrac", "Clip fraction", ""),
    ("(?:train/)?completions/mean_length|response_length/mean", "Completion length", "tokens"),
    ("(?:train/)?completions/(min|max)_length|response_length/(min|max)", "Completion length, $1", "tokens"),
    ("(?:train/)?completions/clipped_ratio|response_length/clip_ratio", "Completions cut off", ""),
    ("(?:train/)?rollout_time|timing_s/gen", "Rollout time", "s"),
    ("(?:train/)?update_time|timing_s/update_actor", "Update time", "s"),
    ("(?:train/)?step_time|timing_s/step", "Step time", "s"),
)
_EXPRESSIONS = tuple(re.compile(expression, re.ASCII) for expression, _, _ in TABLE)


@dataclass(frozen=True, slots=True)
class KnownSeries:
    """What is known of a series.

    Attributes:
        unit: empty: it has none.
        rank: its place among those that are known.
    """

    title: str
    unit: str
    rank: int


def known(key: str) -> KnownSeries | None:
    """Return what is known of a series by its name."""
    for rank, expression in enumerate(_EXPRESSIONS):
        found = expression.fullmatch(key)
        if found is not None:
            part = next(filter(None, found.groups()), "")
            _, title, unit = TABLE[rank]
            return KnownSeries(title.replace("$1", part.replace("_", " ")), unit, rank)
    return None


def order(key: str) -> tuple[int, str]:
    """Return where a series is shown: known ones first, in their order, then by name."""
    found = known(key)
    return (len(TABLE) if found is None else found.rank), key
