"""A plan says what it will be able to decide, by the variances of a pilot (PROTOCOL §6.6)."""

import re
from pathlib import Path

import numpy as np
import pytest

from study.compare import pilot as piloting
from study.compare.pilot import assumed_power, planned_comparisons, power_of_plan
from study.record.runs_table import StudyRecords
from tests.study.made_up_runs import confirmed, table
from tests.study.small_study import load
from trainers.errors import UserError
from trainers.predictions import Predictions


def plan(tmp_path: Path, methods: list[str], **changes: object):  # type: ignore[no-untyped-def]
    blocks = [{"datasets": ["Digits"], "models": ["MLP"], "methods": methods}]
    return load(tmp_path, cells=blocks, confirm={"seeds": [11, 12, 13, 14, 15]}, **changes)


def test_a_plan_counts_baseline_control_and_named_comparisons_once(tmp_path: Path) -> None:
    assert planned_comparisons(plan(tmp_path, ["binary", "bop"])) == 1
    assert planned_comparisons(plan(tmp_path, ["binary", "bop", "frozen", "real-Adam"])) == 3 + 2
    named = plan(tmp_path, ["binary", "bop", "real-Adam"], contrasts=[["binary", "bop"], ["bop", "real-Adam"]])
    assert planned_comparisons(named) == 3


def test_power_comes_from_the_pilots_own_variances(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    generator, kept, rows = np.random.default_rng(1), {}, []
    common = generator.random(300) < 0.9
    for method in ("bop", "real-Adam"):
        accuracies = []
        for seed in (11, 12, 13):
            correct = common ^ (generator.random(300) < 0.04)
            kept[f"Digits-MLP-{method}-confirm-0000-s{seed}"] = Predictions("set", "", correct.astype(int), correct)
            accuracies.append(float(correct.mean()))
        rows.append(confirmed(method, accuracies))
    monkeypatch.setattr(piloting, "read_study", lambda folder: StudyRecords("s", table(*rows), {}))
    monkeypatch.setattr(piloting, "read_predictions", lambda folder, runs: kept)
    first, second = power_of_plan(plan(tmp_path, ["bop", "real-Adam"]), "pilot")
    assert first == "power, by the variances of pilot: margin 1, 5 seeds, Holm over 1 comparisons"
    assert second.startswith("Digits, MLP: no difference is found comparable in 0 % of studies; in 80 % by ")
    assert "seeds on its 300 images" in second
    assert re.search(r"; a difference of \d\.\d points or more is told from none in 80 %$", second)
    monkeypatch.setattr(piloting, "read_predictions", lambda folder, runs: {})
    with pytest.raises(UserError, match="pilot holds no workload of this study"):
        list(power_of_plan(plan(tmp_path, ["bop", "real-Adam"]), "pilot"))


def test_a_plan_without_a_pilot_states_what_it_assumes(tmp_path: Path) -> None:
    assumed, power, told = assumed_power(plan(tmp_path, ["binary", "bop", "real-Adam"]))
    assert "5 % of answers discordant" in assumed and "5 seeds" in assumed and "2 comparisons" in assumed
    assert "--pilot" in assumed
    shares = [int(share) for share in re.findall(r"(\d+)%", power)]
    assert len(shares) == 3 and shares == sorted(shares) and shares[0] < 20 < 80 < shares[-1]
    least = [float(points) for points in re.findall(r"(\d+\.\d) with", told)]
    assert len(least) == 3 and least == sorted(least, reverse=True) and 0.2 < least[-1] < least[0] < 5
    (none,) = assumed_power(load(tmp_path, confirm={"k": 0}))
    assert none.startswith("power: none")
