"""The tables of what flips take: their lines say what was coded, and what a study's runs flipped."""

from pathlib import Path

import pytest

from benchmarks.patches import SHARES, flip_bytes, lines, main, network_of
from study.record.study_log import StudyLog
from trainers.config import TrialConfig

WEIGHTS = 11_161_600  # of ResNet18
TUNED = TrialConfig("CIFAR100", "ResNet18", "binary", pretrained="a.params", image_size=32)


def test_each_share_has_its_line_and_comes_near_the_entropy() -> None:
    header, *rows = lines(100_000)
    assert header.split() == ["flipped", "kB", "bits", "a", "weight", "entropy"] and len(rows) == len(SHARES)
    share, _, bits, least = rows[SHARES.index(0.01)].split()
    assert share == "1.00%" and float(least) <= float(bits) <= 1.03 * float(least)


def test_a_network_s_binary_weights_are_counted_by_layer_and_all_else_in_bytes() -> None:
    layers, real = network_of(TUNED.to_dict())
    assert sum(layers.values()) == WEIGHTS
    assert 4 * 512 * 100 < real < 4 * 512 * 100 + 150_000  # the head, the first convolution, norms and their statistics


def test_a_study_s_flips_are_coded_layer_by_layer_over_its_confirmation_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layers, real = network_of(TUNED.to_dict())
    log = StudyLog(tmp_path / "log.jsonl")
    for name, phase, share in (("a", "confirm", 0.01), ("b", "confirm", 0.03), ("c", "search", 0.5)):
        about = {"cell": "cell", "phase": phase, "method": "binary", "config": TUNED.to_dict(), "tags": {}}
        log.append("start", trial_id=name, **about, attempt=1)
        flipped = dict.fromkeys(layers, share)
        end = {"metrics": {}, "rung": None, "device_seconds": 1.0, "flipped_by_layer": flipped}
        log.append("end", trial_id=name, outcome="completed", reason="", **end)
    assert main([str(tmp_path)]) == 0
    *_, row = capsys.readouterr().out.splitlines()
    mean = sum(flip_bytes(dict.fromkeys(layers, share), layers) for share in (0.01, 0.03)) / 2
    assert row == (
        f"| CIFAR100 | `binary` | 2 | 2.00% | {mean / 1e3:.1f} | {real / 1e3:.1f} | {(mean + real) / 1e3:.1f} "
        f"| {(WEIGHTS / 8 + real) / 1e3:.1f} |"
    )
