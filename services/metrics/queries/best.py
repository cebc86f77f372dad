"""Which end of a series is the good one. Pure."""

from __future__ import annotations

import re

from milepost.api.config.v1 import configuration_pb2 as config

_LESS = frozenset({"loss", "perplexity", "ppl", "error", "wer", "cer", "mse", "mae", "rmse", "nll", "bpb"})
_MORE = frozenset(
    {"accuracy", "acc", "f1", "auc", "auroc", "bleu", "rouge", "precision", "recall", "iou", "psnr", "ssim"}
)


def direction(key: str, keep_best: config.KeepBest | None) -> config.MetricMode:
    """Return whether small or large values of a series are better; UNSPECIFIED: nobody knows.

    `keep_best` of the runtime decides about its metric, the last word of the name about every other series.
    """
    if keep_best is not None and keep_best.metric == key:
        return config.METRIC_MODE_MAX if keep_best.mode == config.METRIC_MODE_MAX else config.METRIC_MODE_MIN
    words = [word for word in re.split(r"[^a-z0-9]+", key.lower()) if word]
    last = words[-1] if words else ""
    if last in _LESS:
        return config.METRIC_MODE_MIN
    return config.METRIC_MODE_MAX if last in _MORE else config.METRIC_MODE_UNSPECIFIED
