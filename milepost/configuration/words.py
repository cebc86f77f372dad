"""The words of closed sets, and the numbers they have in the message."""

from __future__ import annotations

from milepost.api.config.v1 import configuration_pb2 as config

LAUNCHERS = {
    "local": config.LAUNCHER_LOCAL,
    "ray": config.LAUNCHER_RAY,
    "slurm": config.LAUNCHER_SLURM,
    "external": config.LAUNCHER_EXTERNAL,
}
# Those that choose each trial when it is its turn.
SAMPLERS = {
    "tpe": config.SEARCH_KIND_TPE,
    "gp": config.SEARCH_KIND_GP,
    "cmaes": config.SEARCH_KIND_CMAES,
    "qmc": config.SEARCH_KIND_QMC,
    "nsga2": config.SEARCH_KIND_NSGA2,
}
# Of them those that know ranges of numbers only.
RANGES_ONLY = ("cmaes",)
# Of them those that can be told what others came to. The others ignore what they did not choose themselves.
WARM = ("tpe", "gp", "cmaes")
# Kinds whose trials need not all have the same parameters. The other samplers would draw what is not in all at random.
CONDITIONAL = ("random", "tpe")
# Of them those that know one objective and no constraint.
ONE_OBJECTIVE = ("cmaes",)
KINDS = {"grid": config.SEARCH_KIND_GRID, "random": config.SEARCH_KIND_RANDOM, **SAMPLERS}
PRUNERS = {
    "asha": config.PRUNER_KIND_ASHA,
    "median": config.PRUNER_KIND_MEDIAN,
    "threshold": config.PRUNER_KIND_THRESHOLD,
    "patience": config.PRUNER_KIND_PATIENCE,
    "hyperband": config.PRUNER_KIND_HYPERBAND,
    "pbt": config.PRUNER_KIND_PBT,
}
OBJECTIVE_VALUES = {"best": config.OBJECTIVE_VALUE_BEST, "last": config.OBJECTIVE_VALUE_LAST}
CONSTRAINT_VALUES = {"last": config.CONSTRAINT_VALUE_LAST, "worst": config.CONSTRAINT_VALUE_WORST}
CONCURRENCIES = {"fixed": config.SEARCH_CONCURRENCY_FIXED, "auto": config.SEARCH_CONCURRENCY_AUTO}
ON_FAILURE = {"continue": config.ON_TRIAL_FAILURE_CONTINUE, "stop": config.ON_TRIAL_FAILURE_STOP}
MODES = {"min": config.METRIC_MODE_MIN, "max": config.METRIC_MODE_MAX}
