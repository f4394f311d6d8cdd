"""Studies: checked whole before anything starts, and compared by what decides their trials."""

import dataclasses
from pathlib import Path
from typing import Any

import optuna
import pytest
import yaml

from study.define.cells import (
    AshaConfig,
    Cell,
    ConfirmConfig,
    ResourcesConfig,
    SearchConfig,
    dataset_label,
    make_cell,
)
from study.define.study_file import load_study
from tests.study.small_study import content, load
from trainers.errors import UserError
from trainers.registry import cell_methods


def test_cells_are_the_product_of_data_sets_models_and_methods(tmp_path: Path) -> None:
    block = {"datasets": ["CIFAR10", "OxfordPets"], "models": ["AdamBNN", "BCDNet"], "methods": list(cell_methods())}
    study = load(tmp_path, cells=[block], fixed={"epochs": 6})
    assert len(study.cells) == 2 * 2 * len(cell_methods())
    assert study.cells[0].name == "CIFAR10-AdamBNN-binary"
    assert {cell.base.dataset for cell in study.cells} == {"CIFAR10", "OxfordPets"}


def test_a_method_in_real_space_fixes_its_optimizer_and_real_alone_searches_it(tmp_path: Path) -> None:
    block = {"datasets": ["Digits"], "models": ["MLP"], "methods": ["real", "real-SGD", "real-Adam"]}
    real, sgd, adam = load(tmp_path, cells=[block]).cells
    assert "optimizer" not in real.fixed
    assert (sgd.base.optimizer, adam.base.optimizer) == ("SGD", "Adam")
    assert "optimizer" in sgd.fixed


def test_settings_of_a_block_override_those_of_the_study(tmp_path: Path) -> None:
    blocks = [
        {"datasets": ["Digits"], "models": ["MLP"], "methods": ["bop"], "fixed": {"epochs": 9}},
        {"datasets": ["MNIST"], "models": ["MLP"], "methods": ["bop"]},
    ]
    assert [cell.base.epochs for cell in load(tmp_path, cells=blocks).cells] == [9, 6]


def test_search_settings_reach_the_cells_of_their_method_alone(tmp_path: Path) -> None:
    search = {"ranges": {"binary": {"temperature": [2, 50]}}, "fixed": {"binary": {"mask_type": "WPM"}}, "seed": 5}
    binary, sgd = load(tmp_path, search=search).cells
    assert binary.space_options["ranges"] == {"temperature": [2, 50]}
    assert binary.space_options["fixed"]["mask_type"] == "WPM"
    assert "ranges" not in sgd.space_options
    assert "mask_type" not in sgd.fixed
    assert {binary.base.seed, sgd.base.seed} == {5}


def test_a_cell_with_nothing_to_search_has_one_trial() -> None:
    resources, search = ResourcesConfig(), SearchConfig(trials=20)
    frozen = make_cell("Digits", "MLP", "frozen", fixed={}, search=search, resources=resources)
    bop = make_cell("Digits", "MLP", "bop", fixed={}, search=search, resources=resources)
    assert (frozen.trials, bop.trials) == (1, 20)


def test_a_budget_is_no_part_of_a_study_s_identity(tmp_path: Path) -> None:
    more = load(tmp_path, search={"trials": 50}, confirm={"k": 3, "seeds": [11, 12, 13, 14]}).identity()
    assert load(tmp_path).identity() == more


@pytest.mark.parametrize(
    ("changes", "setting"),
    [
        ({"fixed": {"epochs": 7, "hid_dim": 64, "batch_size": 96}}, "epochs"),
        ({"search": {"seed": 2}}, "seed"),
        ({"search": {"asha": False}}, "asha"),
        ({"search": {"temperature_mode": "coupled"}}, "temperature_mode"),
        ({"search": {"ranges": {"binary": {"temperature": [2, 50]}}}}, "ranges"),
        ({"search": {"fixed": {"binary": {"mask_type": "EWM"}}}}, "fixed"),
        ({"resources": {"workers": 2}}, "workers"),
        ({"resources": {"threads": 2}}, "threads"),
    ],
)
def test_everything_else_is(tmp_path: Path, changes: dict, setting: str) -> None:
    name = "Digits-MLP-binary"
    before, after = load(tmp_path).identity()[name], load(tmp_path, **changes).identity()[name]
    assert setting in {key for key in after if before[key] != after[key]}


def test_where_data_lie_is_no_part_of_the_identity(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(content()))
    elsewhere = load_study(str(file), data_root="/elsewhere", prepared_root="/fast")
    assert elsewhere.cells[0].base.data_root == "/elsewhere"
    assert elsewhere.identity() == load_study(str(file)).identity()


def test_a_study_whose_runs_check_themselves_is_the_same_study(tmp_path: Path) -> None:
    plain = load(tmp_path).identity()
    assert load(tmp_path, fixed={**content()["fixed"], "check": True}).identity() == plain


def test_a_path_s_label_cannot_leave_the_study_folder() -> None:
    for path in ("../../etc/pets.parquet", "/data/..", "a/b c/d;rm", ".."):
        label = dataset_label(path)
        assert "/" not in label
        assert not label.startswith(".")
    assert dataset_label("/x/pets.parquet") != dataset_label("/y/pets.parquet")


def test_defaults_are_those_that_the_documentation_names() -> None:
    assert AshaConfig() == AshaConfig(grace_period=1, reduction_factor=3)
    assert ConfirmConfig().seeds == (11, 12, 13)


ABLATION = {"datasets": ["Digits"], "models": ["MLP"], "methods": ["binary"]}


def test_an_ablation_makes_a_cell_of_every_combination_with_the_same_budget(tmp_path: Path) -> None:
    ablate = {"scheduler_type": ["const", "scaled-gaussian"], "mask_type": ["EWM", "RAND"]}
    plain = {"datasets": ["Digits"], "models": ["MLP"], "methods": ["bop"]}
    *cells, bop = load(tmp_path, cells=[{**ABLATION, "ablate": ablate}, plain]).cells
    assert [cell.method for cell in cells] == [
        "binary-EWM-const",
        "binary-EWM-scaled-gaussian",
        "binary-RAND-const",
        "binary-RAND-scaled-gaussian",
    ]
    assert cells[3].name == "Digits-MLP-binary-RAND-scaled-gaussian"
    assert (cells[3].base.algorithm, cells[3].base.mask_type) == ("binary", "RAND")
    assert {"mask_type", "scheduler_type"} <= cells[3].fixed, "so they are not searched"
    assert {cell.trials for cell in cells} == {bop.trials}


def test_numbers_of_bits_are_ablated_under_names_that_say_bits(tmp_path: Path) -> None:
    counted = {**ABLATION, "ablate": {"inertia_bits": [0, 4]}, "fixed": {"scheduler_type": "relative"}}
    momentum = {**ABLATION, "methods": ["bop"], "ablate": {"bop_momentum_bits": [32, 16]}}
    cells = load(tmp_path, cells=[counted, momentum]).cells
    assert [cell.method for cell in cells] == ["binary-0bit", "binary-4bit", "bop-32bit", "bop-16bit"]
    assert [cell.base.inertia_bits for cell in cells[:2]] == [0, 4] and "inertia_bits" in cells[1].fixed
    assert [cell.base.bop_momentum_bits for cell in cells[2:]] == [32, 16]
    assert {cell.trials for cell in cells} == {4}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cells": [{**ABLATION, "ablate": {"mask": ["EWM"]}}]}, "'mask' is unknown; use mask_type, scheduler_type"),
        ({"cells": [{**ABLATION, "ablate": {"mask_type": "EWM"}}]}, "ablate: mask_type is 'EWM'; give a list"),
        ({"cells": [{**ABLATION, "ablate": {"mask_type": ["EVM"]}}]}, "mask_type 'EVM' is unknown"),
        ({"cells": [{**ABLATION, "ablate": {"mask_type": ["EWM", "EWM"]}}]}, "appears twice"),
        ({"cells": [{**ABLATION, "methods": ["bop"], "ablate": {"mask_type": ["EWM"]}}]}, "'bop' has no mask_type"),
        ({"cells": [{**ABLATION, "ablate": {"bop_momentum_bits": [16]}}]}, "'binary' has no bop_momentum_bits"),
        ({"cells": [{**ABLATION, "ablate": {"inertia_bits": [5]}}]}, "inertia_bits 5 is not offered; use 0, 2, 3, 4"),
        ({"cells": [{**ABLATION, "ablate": {"inertia_bits": [True]}}]}, "True is neither a number nor text"),
        (
            {
                "cells": [{**ABLATION, "ablate": {"inertia_bits": [4]}}],
                "search": {"ranges": {"binary": {"inertia_bits": [4, 8]}}},
            },
            "inertia_bits of 'binary' is settled in search: ranges too",
        ),
        (
            {"cells": [{**ABLATION, "fixed": {"mask_type": "WPM"}, "ablate": {"mask_type": ["EWM"]}}]},
            "mask_type of 'binary' is settled in fixed too",
        ),
        ({"search": {"objectives": ["peak_memory_bytes"]}}, r"give \[val_accuracy\] or \[val_accuracy, peak_memory"),
        ({"search": {"objectives": "val_accuracy"}}, "objectives is 'val_accuracy'; give a list"),
        ({"search": {"objectives": ["val_accuracy", "peak_memory_bytes"], "asha": True}}, "take asha out"),
        ({"search": {"ranges": {"binary": {"batch_size": 64}}}}, "batch_size is 64; give a list"),
        ({"search": {"ranges": {"binary": {"batch_size": [64, 64]}}}}, "each once"),
        ({"search": {"ranges": {"binary": {"batch_size": [1]}}}, "fixed": {"epochs": 6}}, "batch_size 1"),
        ({"search": {"ranges": {"binary": {"batch_size": [32]}}}}, "batch_size is fixed and has a range"),
        ({"search": {"ranges": {"binary": {"width": [0.5]}}}}, "no parameter 'width'"),
        ({"search": {"ranges": {"binary": {"bop_momentum_bits": [16]}}}}, "no parameter 'bop_momentum_bits'"),
        ({"resources": {"at_once": 0}}, "at_once is 0; give at least 1"),
        ({"resources": {"at_once": "all"}}, "at_once is 'all'; give a whole number"),
    ],
)
def test_unusable_ablations_objectives_and_ranges_are_refused(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(tmp_path, **changes)


def test_two_objectives_search_without_early_stopping_and_are_another_study(tmp_path: Path) -> None:
    search = {"objectives": ["val_accuracy", "peak_memory_bytes"]}
    study = load(tmp_path, search=search)
    assert study.search.asha is None
    before = load(tmp_path, search={"asha": False}).identity()["Digits-MLP-binary"]
    after = study.identity()["Digits-MLP-binary"]
    assert {key for key in after if before.get(key) != after[key]} == {"objectives"}


def test_the_most_demanding_of_what_may_be_searched_stands_for_the_memory(tmp_path: Path) -> None:
    from study.define.memory_plan import need_of_cell

    ranges = {"bop": {"batch_size": [16, 64], "activation_memory": ["packed", "stock"], "bop_momentum_bits": [16, 32]}}
    block = {"datasets": ["Digits"], "models": ["MLP"], "methods": ["bop"], "fixed": {"image_size": 8}}
    (cell,) = load(tmp_path, cells=[block], fixed={"epochs": 6, "hid_dim": 64}, search={"ranges": ranges}).cells
    assert len(cell.configurations()) == 8
    assert {(one.batch_size, one.bop_momentum_bits) for one in cell.demanding()} == {(64, 32)}
    fixed = {"epochs": 6, "hid_dim": 64, "batch_size": 64, "bop_momentum_bits": 32}
    (largest,) = load(tmp_path, cells=[block], fixed=fixed).cells
    assert need_of_cell(cell).peak == need_of_cell(largest).peak


def test_the_most_bits_of_counters_that_may_be_searched_count_for_the_memory(tmp_path: Path) -> None:
    from study.define.memory_plan import need_of_cell

    def cell_with(**search: Any) -> Cell:
        block = {"datasets": ["Digits"], "models": ["MLP"], "methods": ["binary"], "fixed": {"image_size": 8}}
        fixed = {"epochs": 6, "hid_dim": 512, "batch_size": 16}
        (cell,) = load(tmp_path, cells=[block], fixed=fixed, search=search).cells
        return cell

    searched = need_of_cell(cell_with(ranges={"binary": {"inertia_bits": [0, 2, 8]}}))
    assert searched.peak == need_of_cell(cell_with(fixed={"binary": {"inertia_bits": 8}})).peak
    assert searched.peak.optimizer_state > need_of_cell(cell_with()).peak.optimizer_state == 0
    with pytest.raises(UserError, match="inertia_bits 5 is not offered"):
        cell_with(ranges={"binary": {"inertia_bits": [5]}})


def test_how_many_run_at_once_is_no_part_of_the_identity_and_the_command_line_decides(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(content(resources={"at_once": 3})))
    assert {cell.at_once for cell in load_study(str(file)).cells} == {3}
    assert {cell.at_once for cell in load_study(str(file), at_once=1).cells} == {1}
    assert load_study(str(file)).identity() == load(tmp_path).identity()


def test_a_cell_that_starts_from_a_pretrained_file_is_searched_in_ranges_for_fine_tuning(tmp_path: Path) -> None:
    block = {"datasets": ["CIFAR10"], "models": ["AdamBNN"], "methods": ["real-Adam"]}
    (scratch,) = load(tmp_path, cells=[block], fixed={"epochs": 6}).cells
    fixed = {"epochs": 6, "pretrained": "network.pth"}
    (tuned,) = load(tmp_path, cells=[block], fixed=fixed).cells
    later = dataclasses.replace(
        scratch, base=scratch.base.replace(pretrained="network.pth")
    )  # a study's own pretraining

    def lowest(cell: Cell) -> float:
        trial = optuna.create_study().ask()
        cell.space.ask(trial, cell.base.model, **cell.space_options)
        return float(trial.distributions["lr_adam"].low)

    assert lowest(tuned) == lowest(later) < lowest(scratch)
