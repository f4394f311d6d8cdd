"""A run says in its folder what it is doing while something takes long; nobody depends on it."""

from pathlib import Path

import pytest

from trainers import activity
from trainers.activity import Activity, Doing, doing


def test_what_a_run_says_is_read_back(tmp_path: Path) -> None:
    says = Activity(tmp_path)
    says("the first step")
    found = doing(tmp_path)
    assert found is not None and str(found) == "the first step"
    assert doing(tmp_path, since=found.at + 1) is None  # of an earlier attempt
    says.over()
    assert doing(tmp_path) is None


def test_counts_are_written_once_in_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("trainers.activity.time.monotonic", lambda: clock[0])
    says = Activity(tmp_path)
    for step in range(10):
        says("epoch 1, step", step, 10)
    assert str(doing(tmp_path)) == "epoch 1, step 0/10"
    clock[0] += activity.WRITE_SECONDS
    says("epoch 1, step", 9, 10)
    assert str(doing(tmp_path)) == "epoch 1, step 9/10"


@pytest.mark.parametrize("text", ["", "{", "[]", '{"at": 1}', '{"at": "x", "what": "", "done": 0, "total": 0}', "\xff"])
def test_a_torn_file_says_nothing(text: str, tmp_path: Path) -> None:
    (tmp_path / activity.NAME).write_text(text, encoding="latin-1")
    assert doing(tmp_path) is None


def test_only_one_worker_speaks_and_a_folder_that_is_gone_is_no_error(tmp_path: Path) -> None:
    Activity(None)("epoch 1, step", 1, 2)
    Activity(tmp_path / "gone")("epoch 1, step", 1, 2)
    assert not list(tmp_path.iterdir())


def test_it_is_shown_in_words() -> None:
    assert str(Doing(0.0, "test images", 96, 1000)) == "test images 96/1000"
