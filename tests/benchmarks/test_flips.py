"""The table of flips says what a study's log says of its confirmation runs."""

from pathlib import Path

import pytest

from benchmarks.flips import main, thirds
from benchmarks.patches import network_of
from study.record.study_log import StudyLog
from trainers.config import TrialConfig

TUNED = TrialConfig("CIFAR100", "ResNet18", "binary", pretrained="a.params", image_size=32)


def test_a_row_is_the_mean_of_a_methods_confirmation_runs_and_controls_have_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layers, _ = network_of(TUNED.to_dict())
    log = StudyLog(tmp_path / "log.jsonl")
    runs = (("a", "confirm", "binary", 0.03), ("b", "confirm", "binary", 0.01), ("c", "search", "binary", 0.5))
    for name, phase, method, share in (*runs, ("d", "confirm", "frozen", 0.0)):
        about = {"cell": "cell", "phase": phase, "method": method, "config": TUNED.to_dict(), "tags": {}}
        log.append("start", trial_id=name, **about, attempt=1)
        metrics = {"flips_per_weight": 2 * share, "flipped_share": share, "train_loss": 1.5}
        end = {
            "metrics": metrics,
            "rung": None,
            "device_seconds": 1.0,
            "flipped_by_layer": dict.fromkeys(layers, share),
        }
        log.append("end", trial_id=name, outcome="completed", reason="", **end)
    assert main([str(tmp_path)]) == 0
    _, _, row = capsys.readouterr().out.splitlines()
    assert row == "| CIFAR100 | `binary` | 2 | 0.0400 | 2.00% | 50% | 2.00% | 2.00% | 2.00% | 1.50 |"


def test_a_third_is_of_the_layers_in_their_order_and_weighs_them_by_their_weights() -> None:
    sizes = {"a": 10, "b": 30, "c": 5, "d": 5, "e": 1, "f": 3}
    shares = {"a": 0.4, "b": 0.0, "c": 0.2, "d": 0.4, "e": 1.0, "f": 0.0}
    assert thirds(shares, sizes) == pytest.approx((0.1, 0.3, 0.25))


def test_a_study_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 2 and "usage" in capsys.readouterr().err
