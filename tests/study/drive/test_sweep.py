"""Sweeps and confirmations on real data under a real Ray: what runs, what is recorded, what a second call adds."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from study.compare.scores import two_objectives
from study.define.cells import AshaConfig, Cell, ConfirmConfig, ResourcesConfig, SearchConfig, StudyConfig, make_cell
from study.define.memory_plan import needs_of_cells
from study.define.offer import Offered, offers_of, recorded_margin, recorded_sampler
from study.drive.course import run_cells
from study.drive.session import open_session
from study.drive.sweep import SweepResult, open_sweep
from study.record.folder import StudyFolder
from study.record.runs_table import collect, read_study
from study.record.study_log import StudyLog
from study.search.journal_search import ended, open_journal, open_search
from trainers.data.prepare import prepare


@pytest.fixture(scope="module")
def data_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    prepare("Digits", root)
    return root


def cell(data_root: Path, method: str, trials: int, **settings: Any) -> Cell:
    fixed = {"epochs": 3, "hid_dim": 32, "depth": 2, "batch_size": 96, "image_size": 8, **settings}
    search = SearchConfig(trials=trials, asha=AshaConfig(grace_period=1, reduction_factor=2))
    return make_cell(
        "Digits", "MLP", method, fixed=fixed, search=search, resources=ResourcesConfig(), data_root=str(data_root)
    )


def sweep(cell: Cell, folder: StudyFolder, log: StudyLog) -> SweepResult:
    return run_cells([cell], ConfirmConfig(k=0), folder, log, needs_of_cells([cell])).searches[cell.name]


def rows(folder: StudyFolder, phase: str) -> list[dict[str, Any]]:
    return [row for row in collect(folder.path).to_pylist() if row["phase"] == phase]


def test_a_sweeps_run_says_what_it_is_offered_and_what_it_searches_by(tmp_path: Path) -> None:
    """PROTOCOL §4.1, §6.2, §7: what the comparison reads from its tags."""
    both = ("val_accuracy", "peak_memory_bytes")
    plain = cell(tmp_path, "bop", 5)
    wanted = dataclasses.replace(plain, search=dataclasses.replace(plain.search, objectives=both, asha=None))
    folder = StudyFolder(tmp_path / "study")
    confirm = ConfirmConfig(2, (5, 6), margin=2.5)
    study = StudyConfig("study", (wanted,), wanted.search, confirm)
    folder.claim(study.identity(), offers_of(study, confirm))
    log = StudyLog(tmp_path / "log.jsonl")
    open_sweep(wanted, folder, log, open_search(wanted, open_journal(folder.journal)))
    (event,) = log.events()
    tags = event["tags"]
    assert (
        Offered.from_tag(tags["offered"]) == Offered(5, 3, None, 2, (5, 6)) and recorded_margin(tags["offered"]) == 2.5
    )
    assert recorded_sampler(tags["sampler"]) == ("tpe", 4)
    assert two_objectives(tags) and not two_objectives({**tags, "objectives": '["val_accuracy"]'})


@pytest.mark.usefixtures("running_ray")
def test_a_sweep_is_extended_and_confirmed_and_nothing_runs_twice(tmp_path: Path, data_root: Path) -> None:
    folder = StudyFolder(tmp_path / "small")
    for trials in (4, 4, 6):
        bop = cell(data_root, "bop", trials)
        folder.claim({bop.name: bop.identity()}, {bop.name: Offered.to_cell(bop, None).as_dict()})
        with open_session(folder) as session:
            result = sweep(bop, folder, session.log)
        assert session.delivered
        assert sum(result.outcomes.values()) == trials
        searched = rows(folder, "search")
        assert sorted(row["trial_id"] for row in searched) == [f"Digits-MLP-bop-search-{n:04d}" for n in range(trials)]

    outcomes = {
        trial.number: trial.user_attrs["outcome"] for trial in ended(open_search(bop, open_journal(folder.journal)))
    }
    assert {int(row["trial_id"][-4:]): row["status"] for row in searched} == outcomes
    for row in searched:
        kept = (folder.run_dir(row["trial_id"]) / "checkpoints").exists()
        assert kept == (row["status"] == "completed")
        assert row["test_accuracy"] is None

    with open_session(folder) as session:
        needs = needs_of_cells([bop])
        first = run_cells([bop], ConfirmConfig(k=1, seeds=(11,)), folder, session.log, needs).confirmations
        both = run_cells([bop], ConfirmConfig(k=1, seeds=(11, 12)), folder, session.log, needs).confirmations
    assert len(first) == 1
    assert set(both.values()) == {"completed"}
    confirmed = rows(folder, "confirm")
    assert sorted(row["trial_id"] for row in confirmed) == sorted(both)
    assert sorted(row["seed"] for row in confirmed) == [11, 12]
    assert all(row["test_accuracy"] is not None for row in confirmed)
    (tags,) = read_study(folder.path).sweeps.values()
    assert tags["status"] == "completed"
    assert Offered.from_tag(tags["offered"]) == Offered.to_cell(bop, None)


@pytest.mark.usefixtures("running_ray")
def test_one_trial_that_fails_does_not_end_a_sweep(tmp_path: Path, data_root: Path) -> None:
    folder = StudyFolder(tmp_path / "failing").create()
    bop = cell(data_root, "bop", 2)
    blocked = folder.run_dir("Digits-MLP-bop-search-0000")
    blocked.parent.mkdir()
    blocked.touch()  # a file where the first trial's folder should be
    with open_session(folder) as session:
        result = sweep(bop, folder, session.log)
    assert Counter(result.outcomes) == {"failed": 1, "completed": 1}
    assert sorted(row["status"] for row in rows(folder, "search")) == ["completed", "failed"]


@pytest.mark.slow
@pytest.mark.usefixtures("running_ray")
def test_trials_of_two_workers_that_are_stopped_early_do_not_hang_the_sweep(tmp_path: Path, data_root: Path) -> None:
    folder = StudyFolder(tmp_path / "workers")
    search = SearchConfig(trials=3, asha=AshaConfig(grace_period=1, reduction_factor=2))
    fixed = {"epochs": 4, "hid_dim": 32, "depth": 2, "batch_size": 96, "image_size": 8}
    resources = ResourcesConfig(workers=2)
    wide = make_cell(
        "Digits", "MLP", "binary", fixed=fixed, search=search, resources=resources, data_root=str(data_root)
    )
    with open_session(folder) as session:
        result = sweep(wide, folder, session.log)
    assert sum(result.outcomes.values()) == 3
    assert result.outcomes["pruned"] >= 1
    assert result.outcomes["completed"] >= 1
