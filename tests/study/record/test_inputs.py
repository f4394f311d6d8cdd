"""Before a run starts: another pretrained file under the same path is refused; a run of another length is said."""

import hashlib
from pathlib import Path
from typing import Any

import pytest

from study.record.inputs import PRETRAINED, file_tags, other_lengths, refuse_replaced
from study.record.study_log import TrialRecord
from trainers.config import TrialConfig
from trainers.errors import UserError


def config(**settings: Any) -> TrialConfig:
    return TrialConfig(**{"dataset": "Digits", "model": "AdamBNN", "algorithm": "bop", **settings})


def record(of: TrialConfig, phase: str = "train", outcome: str = "completed") -> TrialRecord:
    return TrialRecord("earlier", None, phase, of.method, of.to_dict(), file_tags(of), outcome=outcome)


def test_the_hash_of_the_pretrained_file_is_in_every_record(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"weights")
    assert file_tags(config(pretrained=str(file))) == {PRETRAINED: hashlib.sha256(b"weights").hexdigest()}
    assert file_tags(config()) == file_tags(config(pretrained=str(tmp_path / "missing"))) == {}


def test_another_file_under_the_same_path_is_refused_and_the_same_one_is_not(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"weights")
    of = config(pretrained=str(file))
    records = {"earlier": record(of)}
    file.touch()
    refuse_replaced(records, [of])
    file.write_bytes(b"others!")
    with pytest.raises(
        UserError, match=r"weights\.pth is another one than earlier was trained from .*; put that one back"
    ):
        refuse_replaced(records, [of])
    refuse_replaced(records, [config()])


def test_records_of_before_hashes_were_kept_are_gone_on_with(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    file.write_bytes(b"weights")
    old = record(config(pretrained=str(file)))
    old.tags.clear()
    refuse_replaced({"earlier": old}, [config(pretrained=str(file))])


def test_more_epochs_for_a_run_that_is_over_are_said_before_it_starts() -> None:
    records = {"earlier": record(config(epochs=10))}
    (line,) = other_lengths(records, "new", config(epochs=20))
    assert "earlier is this configuration with 10 epochs, and is over; with 20 epochs it is another run" in line
    assert not other_lengths(records, "earlier", config(epochs=10))
    assert not other_lengths(records, "new", config(epochs=20, lr=0.5))
    assert not other_lengths({"earlier": record(config(epochs=10), outcome="interrupted")}, "new", config(epochs=20))
