"""Trials of scripts of one's own: `milepost.init()`, without a runtime started beforehand and without Ray.

The script registers a runtime with launcher `external` and appends its own events. When no server can be reached,
everything waits in the data directory, under the id that the script has chosen; `sync` sends it later.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from milepost.errors import FailedPrecondition
from milepost.training.loop.trial import Trial
from milepost.training.process.worker import quiet_libraries
from milepost.training.script import configured
from milepost.training.script.command_name import name_of_this_script
from milepost.training.script.external_run import ExternalRun, Group, Script
from milepost.training.script.group import Place as GroupPlace
from milepost.training.script.group import find_link, place_of_this_process
from milepost.training.script.opening import open_run
from milepost.training.script.resume import Wanted, wanted
from milepost.training.script.silent_rank import SilentRun
from milepost.training.user_code import given

_IN_CHILD = (
    "process {process} was started to work for the script, whose lines it has run again: what it logs is ignored (a child "
    "may begin a run of its own with milepost.init in the function that it is given)"
)
_run: ExternalRun | SilentRun | None = None


def init(
    name: str = "",
    *,
    total_steps: float | None = None,
    parameters: Any = None,
    labels: Any = None,
    snapshots: Mapping[str, Any] | None = None,
    id: str = "",
    resume: str = "",
    step: int | None = None,
    data_dir: str | Path | None = None,
    capture: bool = True,
    not_secret: Collection[str] = (),
) -> Trial:
    """Record this script as a runtime of its own.

    Works whether a server can be reached or not, now or later. The run ends with the script, or with `finish`; another
    `init`, as when a cell of a notebook is run again, ends it too, and says so.
    Under torchrun every process calls it: that of rank 0 records, the others count along and stop with it. A child that
    imports the script to work for it, as `spawn` makes them, records nothing.

    Args:
        name: shown in lists. Default: the name of the script.
        total_steps: optimizer updates in the whole training, if known; the same as `trial.plan(total_steps)`.
        parameters: settings to show with the run, and in `trial.parameters`; of any shape, see `Trial.declare`.
        labels: short texts to filter by.
        snapshots: when to take them and which to keep, as in a configuration.
        id: what this run is called by whoever starts it again, the same at each start: the name of a job, for example.
        resume: what to do about a run with this `id`: "allow" goes on with it, or begins it if there is none; "must"
            wants one; "never" (the default) wants none. Or the id of a run of this kind (rt-...), to go on with.
            Going on is a new attempt, from the newest snapshot (`Trial.restore`), and needs the run's server.
        step: of a checkpoint of the script's own that it goes on from; later steps of earlier attempts are superseded.
            Without one, and without a restored snapshot, the first step that is logged says it.
        data_dir: where the record waits until it is stored. Default: that of the stack that is found.
        capture: copy what is printed and logged from now on, by other programs and C code too unless that goes to a
            terminal, a notebook, or out of the first process of a container; the log says what it lacks.
        not_secret: names of parameters and labels that look like secrets and are none. What looks like a secret is
            recorded as `[redacted: looks like a secret]`; `trial.parameters` has it as it was given.

    Raises:
        InvalidArgument: a snapshot setting is unknown or cannot work, or `id`, `resume` and `step` make no sense.
        FailedPrecondition: a process runs the run to resume that is not known to be dead.
        NotFound: there is no run to resume.
        PermissionDenied: somebody else started the run to resume.
        Unavailable: a run must be resumed and its server does not answer.
    """
    global _run
    run = _run_of_process()
    if isinstance(run, ExternalRun) and run.deferred:
        # The script goes on after it: that was no failure.
        run.finish(0)
    if isinstance(run, SilentRun) and run.gives_way:
        run.finish()
    which = wanted(id, resume, step)
    if run is not None and not run.finished:
        _finish_for_another(run)
    quiet_libraries()
    fields = {
        "name": name or name_of_this_script(),
        "parameters": parameters,
        "labels": labels,
        "not_secret": not_secret,
        "snapshots": snapshots,
    }
    _run = _begin(fields, which, total_steps, data_dir, capture, resumes=resume not in ("", "never"))
    return _run.trial


def _begin(
    fields: Mapping[str, Any],
    which: Wanted | None,
    total_steps: float | None,
    data_dir: str | Path | None,
    capture: bool,
    *,
    resumes: bool,
) -> ExternalRun | SilentRun:
    """Begin to record, if this process is the one that records."""
    if _is_import_in_child():
        ignored = _IN_CHILD.format(process=os.getpid())
        return SilentRun(GroupPlace(), None, configured.read(fields), ignored=ignored)
    group = _find_group()
    if group.place.rank > 0:
        return SilentRun(group.place, group.link, configured.read(fields), resumes=resumes)
    try:
        script, total = Script(capture, group), given.total(total_steps)
        run = open_run(fields, which=which, total_steps=total, data_dir=data_dir, script=script)
    except OSError as error:
        print(f"milepost: nothing of this run is recorded: {error}; training goes on", file=sys.stderr)  # noqa: T201
        return SilentRun(group.place, group.link, configured.read(fields))
    where = f"{run.trial.configuration.name} at {run.trial.page}"
    print(f"milepost: recording {where}", file=sys.stderr)  # noqa: T201
    if total_steps is not None:
        run.trial.plan(total_steps)
    return run


def _run_of_process() -> ExternalRun | SilentRun | None:
    """Return what records the trial of this process, which in a group may have changed since `init`."""
    return _run.recorded_by if isinstance(_run, ExternalRun) else _run


def _finish_for_another(open_one: ExternalRun | SilentRun) -> None:
    """End the run of this process, because the next one begins."""
    trial = open_one.trial
    if trial.rank == 0:
        name = trial.configuration.name or trial.runtime_id
        print(  # noqa: T201
            f"milepost: init is called again: {name} is finished at step {trial.step:,}, and another run begins",
            file=sys.stderr,
        )
    open_one.finish()


def _is_import_in_child() -> bool:
    """Return whether a child of multiprocessing imports the script, to find in it what it is to do."""
    processes = sys.modules.get("multiprocessing.process")
    return processes is not None and getattr(processes.current_process(), "_inheriting", False)


def _find_group() -> Group:
    link = find_link()
    return Group(link.place if link is not None else place_of_this_process(), link)


def current() -> Trial:
    """Return the trial of this process.

    Raises:
        FailedPrecondition: `init` was not called.
    """
    run = _run_of_process()
    if run is None:
        raise FailedPrecondition("call milepost.init first", reason="NO_RUN")
    return run.trial


def is_finished() -> bool:
    """Return whether this process has no trial that is open."""
    run = _run_of_process()
    return run is None or run.finished or (isinstance(run, ExternalRun) and run.deferred)


def log_values(values: Mapping[str, Any], step: int | None = None, commit: bool = True) -> None:
    """Log values of this process's trial; see `Trial.log`."""
    current().log(values, step, commit)


def finish(exit_code: int | None = None) -> None:
    """End this process's trial. Without a run, and repeated, it does nothing.

    What the process does afterwards is not the run's any more, also if it fails.

    Args:
        exit_code: 0: Completed; any other: Failed. Default: Completed, unless an error is being handled: that is how
            the run ended then.
    """
    run = _run_of_process()
    if run is not None:
        run.finish(exit_code)
