"""What `python -m tests.benchmarks` answers without measuring anything."""

from __future__ import annotations

import subprocess

import pytest

from tests.benchmarks.__main__ import main, topics_of
from tests.benchmarks.parts.growth import exponent_of


def test_help_lists_every_topic_with_what_it_measures(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["--help"])
    said = capsys.readouterr().out
    assert end.value.code == 0
    for topic, text in {**topics_of("bench"), **topics_of("soak")}.items():
        assert topic in said and text
        assert text in said


def test_an_unknown_topic_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nonsense"]) == 2
    assert "there are attacks, " in capsys.readouterr().err


def test_what_grows_is_measured_apart_from_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    run: list[str] = []

    def called(command: list[str], check: bool) -> subprocess.CompletedProcess[bytes]:
        run.append(command[-1])
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", called)
    assert main(["--growth"]) == 0
    growing = set(run)
    assert growing and all(".growth.bench_growth_" in module for module in growing)
    run.clear()
    assert main([]) == 0
    assert run and growing.isdisjoint(run)


def test_the_exponent_of_a_cost_says_how_it_grows() -> None:
    assert exponent_of({10: 5.0, 100: 5.0, 1_000: 5.0}) == pytest.approx(0.0)
    assert exponent_of({10: 1.0, 100: 10.0, 1_000: 100.0}) == pytest.approx(1.0)
    assert exponent_of({10: 1.0, 100: 100.0, 1_000: 10_000.0}) == pytest.approx(2.0)
