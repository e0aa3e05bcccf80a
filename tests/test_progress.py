from __future__ import annotations

from pathlib import Path

import pytest

from serve_app.progress import PROGRESS_VARIABLE, Step, steps, tell


def test_what_is_told_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "progress.jsonl"
    monkeypatch.setenv(PROGRESS_VARIABLE, str(file))
    tell("loading\nthe weights \u2028 {}")
    tell("no memory", failed=True)
    first, second = steps(file)
    assert (first.text, first.failed) == ("loading\nthe weights \u2028 {}", False)
    assert (second.text, second.failed) == ("no memory", True)


def test_without_the_variable_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PROGRESS_VARIABLE, raising=False)
    monkeypatch.chdir(tmp_path)
    tell("loading")
    assert list(tmp_path.iterdir()) == []


def test_before_the_first_step_there_is_none(tmp_path: Path) -> None:
    assert steps(tmp_path / "progress.jsonl") == []


@pytest.mark.parametrize("half", ['{"text": "b", "fai', '{"text": "b {}', '{"text": "a}'])
def test_a_line_that_is_still_being_written_waits(tmp_path: Path, half: str) -> None:
    file = tmp_path / "progress.jsonl"
    file.write_text('{"text": "a", "failed": false}\n' + half)
    assert steps(file) == [Step("a", False)]
