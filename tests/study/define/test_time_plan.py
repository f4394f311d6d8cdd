"""What a study would cost in time follows from timed steps, the images of its data and the runs that it has."""

from dataclasses import replace
from pathlib import Path

import pytest

from study.define import time_plan as planned
from study.define.cells import ConfirmConfig, ResourcesConfig, SearchConfig, StudyConfig, make_cell
from study.define.time_plan import Images, hours_of, images_of, time_plan
from trainers.config import TrialConfig
from trainers.data.prepare import prepare
from trainers.errors import UserError
from trainers.learner import InputShape
from trainers.timing import Pace, Paces, _line, paces

PACES = Paces(Pace(1.0, 0.1), Pace(0.0, 0.01), "cpu")


def study(data_root: Path, **fixed: object) -> StudyConfig:
    search = SearchConfig(trials=4)
    settings = {"hid_dim": 16, "depth": 1, "batch_size": 50, "image_size": 8, "epochs": 2, **fixed}
    cell = make_cell(
        "Digits", "MLP", "binary", fixed=settings, search=search, resources=ResourcesConfig(device="cpu"),
        data_root=str(data_root),
    )  # fmt: skip
    return StudyConfig("planned", (cell,), search, ConfirmConfig(k=1, seeds=(11, 12, 13)))


def test_hours_are_steps_and_evaluations_of_all_runs(tmp_path: Path) -> None:
    planned_study = study(tmp_path, val_fraction=0.1)
    (cell,) = planned_study.cells
    hours = hours_of(cell, planned_study, PACES, Images(900, 100, 100))
    run = 2 * (18 * (1.0 + 50 * 0.1) + 2 * 50 * 0.01)  # 900 images are 18 steps, 100 are 2 evaluated batches
    assert hours.step == pytest.approx(6.0) and hours.run == pytest.approx(run / 3600)
    assert hours.total == pytest.approx((7 * run + 3 * 2 * 50 * 0.01) / 3600)


def test_images_are_the_prepared_ones_or_the_published(tmp_path: Path) -> None:
    config = TrialConfig("Digits", "MLP", "binary", data_root=str(tmp_path))
    assert images_of(config) == (1374, 153, 270), "15 % of 1,797 are test"
    assert images_of(config.replace(train_per_class=20)) == (200, 153, 270)
    prepare("Digits", tmp_path)
    assert sum(images_of(config)) == 1797
    few = images_of(config.replace(train_per_class=20))
    assert few.train == 200 and few[1:] == images_of(config)[1:]
    three = images_of(config.replace(classes="0..2"))
    assert 500 < sum(three) < 560, "of three of the ten classes"
    assert images_of(config.replace(dataset="CIFAR10")) == (45_000, 5_000, 10_000)


def test_ones_own_data_are_to_be_prepared_first(tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    config = TrialConfig(str(tmp_path / "own"), "MLP", "binary", data_root=str(tmp_path), image_size=8)
    with pytest.raises(UserError, match="prepare it first"):
        images_of(config)


def test_the_plan_has_a_line_a_cell_and_a_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planned, "_timed", lambda *_: PACES)
    lines = list(time_plan(study(tmp_path)))
    assert "early stopping takes less" in lines[1]
    assert lines[3].split()[:3] == ["Digits-MLP-binary", "1,374", "6"] and lines[3].split()[4] == "7"
    assert lines[-1].startswith("in all ") and "(cpu; 1 CPU thread a run)" in lines[-1]


def test_cells_that_differ_in_their_data_alone_are_timed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[object, ...]] = []

    def timed(config: TrialConfig, *shape: int) -> Paces:
        asked.append((config.fingerprint(), *shape))
        return PACES

    monkeypatch.setattr(planned, "_timed", timed)
    (one,) = study(tmp_path, image_size=32).cells
    cells = tuple(replace(one, base=one.base.replace(dataset=name)) for name in ("CIFAR10", "CIFAR100"))
    lines = list(time_plan(replace(study(tmp_path), cells=cells)))
    assert len(lines) == 6 and len(set(asked)) == 1 and asked[0][1:] == (100, 3, 32)


def test_a_line_through_two_batches_puts_noise_down_to_the_images() -> None:
    assert _line((4, 12), 2.0, 4.0) == Pace(1.0, 0.25)
    assert _line((4, 12), 3.0, 2.4) == Pace(0.0, 2.4 / 12)
    assert _line((4, 12), 0.5, 2.4) == Pace(0.0, 2.4 / 12), "a batch of none cannot take less than nothing"


def test_steps_and_evaluation_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    config = TrialConfig("any", "MLP", "binary", hid_dim=16, depth=1, device="cpu")
    found = paces(config, InputShape(10, 1, 8), (2, 6), repeats=1)
    assert found.device == "cpu" and found.step.seconds(96) > 0 and found.evaluation.seconds(96) > 0
