"""What `milepost runtime watch` draws in a terminal."""

from __future__ import annotations

import io
import math

from google.protobuf.duration_pb2 import Duration

from milepost.api.runtime.v1 import runtime_service_pb2 as runtime_api
from milepost.api.trial.v1 import trial_service_pb2 as api
from milepost.cli.runs.monitor import (
    ASCII,
    MIN_WIDTH,
    UNICODE,
    Picture,
    Screen,
    batch_bar,
    chosen_trial,
    draw,
    glyphs_for,
    snapshot_row,
    sparkline,
    step_bar,
)


def trial(step: int = 50, total: int | None = 100, number: int = 1, **more: object) -> api.Trial:
    progress = api.Progress(step=step, epoch=0, batch=step % 40, batches_per_epoch=40, batch_text=f"E0 {step % 40}/40")
    if total is not None:
        progress.total_steps, progress.completion_percent = total, 100 * step / total
    return api.Trial(
        name=f"runtimes/rt-1/trials/{number}",
        trial=number,
        status=api.TRIAL_STATUS_RUNNING,
        attempt_count=1,
        progress=progress,
        elapsed=Duration(seconds=72),
        **more,  # type: ignore[arg-type]
    )


def mark(kind: api.MarkerKind, step: int, planned: bool = False) -> api.Marker:
    return api.Marker(kind=kind, step=step, planned=planned)


def picture(*trials: api.Trial, **more: object) -> Picture:
    runtime = runtime_api.Runtime(
        runtime_id="rt-1",
        display_name="lm",
        status=runtime_api.RUNTIME_STATUS_STARTED,
        phase=runtime_api.RUNTIME_PHASE_RUNNING,
        reason="Started: the first attempt runs",
    )
    return Picture(runtime, {one.trial: one for one in trials}, more.pop("curves", {}), **more)  # type: ignore[arg-type]


def test_the_step_bar_shows_what_is_done_and_what_is_planned() -> None:
    assert step_bar(trial(50), 10, UNICODE) == "█████·····"
    assert step_bar(trial(0), 10, UNICODE) == "·" * 10
    assert step_bar(trial(100), 10, UNICODE) == "█" * 10


def test_evaluations_and_ends_of_epochs_stand_where_their_step_is_done() -> None:
    markers = [
        mark(api.MARKER_KIND_EVALUATION, 30),
        mark(api.MARKER_KIND_EPOCH_END, 40),
        mark(api.MARKER_KIND_EVALUATION, 60, planned=True),
        mark(api.MARKER_KIND_EPOCH_END, 100, planned=True),
        mark(api.MARKER_KIND_SNAPSHOT, 20),
    ]
    assert step_bar(trial(50, markers=markers), 10, UNICODE) == "██│┃█┊···┇"
    assert snapshot_row(trial(50, markers=markers), 10, UNICODE) == " ▴        "


def test_an_epoch_that_ends_with_an_evaluation_is_shown_as_an_epoch() -> None:
    markers = [mark(api.MARKER_KIND_EPOCH_END, 40), mark(api.MARKER_KIND_EVALUATION, 40)]
    assert step_bar(trial(50, markers=markers), 10, ASCII) == "===!=....."


def test_the_stretch_that_was_done_again_is_hatched() -> None:
    redone = [api.RedoneRange(attempt=1, first_step=20, last_step=40)]
    assert step_bar(trial(60, redone=redone), 10, UNICODE) == "██▒▒██····"


def test_without_a_total_the_bar_is_what_is_done() -> None:
    assert step_bar(trial(7, total=None), 5, UNICODE) == "█████"
    assert "7 / " not in "\n".join(draw(picture(trial(7, total=None)), 80, UNICODE))


def test_the_batch_bar_is_that_of_the_phase() -> None:
    training = api.Progress(batch=20, batches_per_epoch=40, phase=api.PROGRESS_PHASE_TRAINING)
    assert batch_bar(training, 10, UNICODE) == "█████·····"
    evaluating = api.Progress(
        batch=20,
        batches_per_epoch=40,
        phase=api.PROGRESS_PHASE_EVALUATING,
        evaluation_batch=9,
        evaluation_batches=10,
    )
    assert batch_bar(evaluating, 10, UNICODE) == "█████████·"
    skipping = api.Progress(phase=api.PROGRESS_PHASE_SKIPPING, skipped_batches=1, batches_to_skip=10)
    assert batch_bar(skipping, 10, UNICODE) == "█·········"
    assert batch_bar(api.Progress(batch=7), 10, UNICODE) == "··········", "of an unknown total nothing is filled"


def test_a_sparkline_goes_from_the_lowest_to_the_highest() -> None:
    assert sparkline([0, 1, 2, 3, 4, 5, 6, 7], 8, UNICODE.spark) == "▁▂▃▄▅▆▇█"
    assert sparkline([1.0], 8, UNICODE.spark) == "▁"
    assert sparkline([2.0] * 4, 8, UNICODE.spark) == "▁▁▁▁", "a constant stays constant"
    assert sparkline(list(range(100)), 4, UNICODE.spark) == "▁▃▆█"
    assert sparkline([], 8, UNICODE.spark) == ""


def test_what_is_not_a_number_leaves_a_gap_in_a_sparkline() -> None:
    assert sparkline([0.0, math.nan, 1.0], 8, UNICODE.spark) == "▁ █"
    assert sparkline([math.nan, math.inf], 8, UNICODE.spark) == "  "


def test_a_picture_has_status_monitors_time_and_the_three_curves() -> None:
    estimate = api.Estimate(
        remaining=Duration(seconds=113), remaining_low=Duration(seconds=100), remaining_high=Duration(seconds=130)
    )
    throughput = api.Throughput(steps_per_second=11.4, step_seconds_p50=0.08)
    one = trial(41, estimate=estimate, throughput=throughput, hints=["resumed from step 20"])
    curves = {"train/loss": [4.5, 2.0, 1.5], "train/grad_norm": [1.0], "train/learning_rate": [0.1, 0.003]}
    lines = draw(picture(one, curves=curves), 100, UNICODE)
    text = "\n".join(lines)
    for part in (
        "lm  rt-1  Started RUNNING",
        "Running  11.4 steps/s · a step 80 ms",
        "41 / 100 · 41.0 %",
        "E0 1/40",
        "1 m 12 s elapsed · 1 m 53 s left (1 m 40 s to 2 m 10 s)",
        "resumed from step 20",
    ):
        assert part in text
    labels = [line.split("  ")[0] for line in lines if line.startswith(("learning", "gradient", "training"))]
    assert labels == ["learning rate", "gradient norm", "training loss"]
    assert text.count("0.003") == text.count("1.5") == 1


def test_what_does_not_fit_is_left_out_as_a_whole() -> None:
    estimate = api.Estimate(
        remaining=Duration(seconds=113), remaining_low=Duration(seconds=100), remaining_high=Duration(seconds=130)
    )
    (line,) = (one for one in draw(picture(trial(41, estimate=estimate)), 72, UNICODE) if one.startswith("time"))
    assert line.endswith("1 m 53 s left (1 m 40 s to 2 m 10 s)")


def test_while_the_time_is_not_known_it_says_so() -> None:
    assert "time left not known yet" in "\n".join(draw(picture(trial(1)), 80, UNICODE))


def test_no_line_is_wider_than_the_terminal() -> None:
    markers = [
        mark(api.MARKER_KIND_EVALUATION, 7),
        mark(api.MARKER_KIND_SNAPSHOT, 8),
        mark(api.MARKER_KIND_EPOCH_END, 90),
    ]
    many = [trial(step, number=number, markers=markers) for number, step in enumerate(range(10, 100, 5), 1)]
    for width in (MIN_WIDTH, 57, 80, 240):
        for glyphs in (UNICODE, ASCII):
            assert max(map(len, draw(picture(*many), width, glyphs))) <= width


def test_the_trial_that_runs_is_drawn_and_the_others_are_listed() -> None:
    ended = trial(100, number=1)
    ended.status = api.TRIAL_STATUS_COMPLETED
    queued = api.Trial(trial=3, status=api.TRIAL_STATUS_WAITING, waiting_reason=api.WAITING_REASON_QUEUED)
    running = trial(50, number=2)
    chosen = chosen_trial({1: ended, 2: running, 3: queued})
    assert chosen is not None
    assert chosen.trial == 2
    rest = api.Estimate(remaining=Duration(seconds=200))
    lines = draw(picture(ended, running, queued, runtime_estimate=rest), 90, UNICODE)
    assert any(line.startswith("trial 2") for line in lines)
    assert any("all trials" in line and "3 m 20 s left" in line for line in lines)
    assert [line.split()[0] for line in lines[-3:]] == ["2", "1", "3"]
    assert "Waiting (queued)" in lines[-1]


def test_many_trials_are_cut_and_counted() -> None:
    lines = draw(picture(*(trial(number, number=number) for number in range(1, 31))), 80, UNICODE)
    assert "and 22 more" in lines[-1]


def test_a_terminal_that_cannot_show_blocks_gets_ascii() -> None:
    assert glyphs_for("utf-8") is UNICODE
    assert glyphs_for("ascii") is glyphs_for(None) is glyphs_for("no such encoding") is ASCII
    "\n".join(draw(picture(trial(50), curves={"train/loss": [2, 1]}), 80, ASCII)).encode("ascii")


def test_a_screen_is_drawn_over_itself_and_leaves_nothing_of_a_longer_one() -> None:
    stream = io.StringIO()
    screen = Screen(stream)
    screen.show(["a", "b", "c"], 24)
    screen.show(["d"], 24)
    first, _, second = stream.getvalue().partition("\x1b[3A")
    assert first == "\r\x1b[Ka\n\r\x1b[Kb\n\r\x1b[Kc\n\x1b[J"
    assert second == "\r\x1b[Kd\n\x1b[J"


def test_a_screen_is_never_taller_than_the_terminal() -> None:
    stream = io.StringIO()
    Screen(stream).show([str(number) for number in range(50)], 10)
    assert stream.getvalue().count("\n") == 9
