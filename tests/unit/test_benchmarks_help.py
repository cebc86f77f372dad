"""What `python -m tests.benchmarks` answers without measuring anything."""

from __future__ import annotations

import pytest

from tests.benchmarks.__main__ import main, topics_of


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
