"""Study files: read strictly, refused with what is allowed; and the presets."""

from pathlib import Path

import pytest
import yaml

from study.define.study_file import PRESETS, load_study
from tests.study.small_study import content, load
from trainers.errors import UserError


def test_command_line_replaces_trials_and_switches_early_stopping_off(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(yaml.safe_dump(content()))
    study = load_study(str(file), trials=9, asha=False)
    assert study.search.trials == 9
    assert study.search.asha is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sead": 3}, "'sead' is unknown; use name, cells"),
        ({"search": {"trails": 3}}, "search: 'trails' is unknown; use trials"),
        ({"search": {"trials": "many"}}, "search: trials is 'many'; give a whole number"),
        ({"search": {"trials": True}}, "trials is True; give a whole number"),
        ({"search": {"trials": 0}}, "at least 1"),
        ({"search": {"asha": {"grace": 3}}}, "search: asha: 'grace' is unknown; use grace_period, reduction_factor"),
        ({"search": {"asha": {"grace_period": 0}}}, "search: asha: grace_period is 0; give at least 1"),
        ({"search": {"asha": {"grace_period": 7}}}, "exceeds the 6 epochs"),
        ({"search": {"temperature_mode": "both"}}, "use decoupled or coupled"),
        ({"search": {"ranges": {"adam": {}}}}, "search: ranges: 'adam' is unknown"),
        ({"search": {"ranges": {"binary": {"temp": [1, 2]}}}}, "no parameter 'temp'; it has mask_type"),
        (
            {"search": {"ranges": {"binary": {"scheduler_type": ["relative"], "mask_type": ["RAND"]}}}},
            "RAND cannot have scheduler_type relative",
        ),
        ({"search": {"ranges": {"binary": {"temperature": [9, 1]}}}}, "0 < low <= high"),
        ({"search": {"fixed": {"binary": {"seed": 4}}}}, "seed is set by search: seed"),
        ({"search": 3}, "search is 3; give `name: value` lines"),
        ({"fixed": {"epoch": 3}}, "fixed: 'epoch' is unknown; use"),
        ({"fixed": {"optimizer": "Adam"}}, "optimizer is set by cells: methods"),
        ({"fixed": {"test": True}}, "only confirmation runs open the test set"),
        ({"fixed": {"lr": float("nan")}}, "fixed: lr is nan; give a finite number"),
        ({"fixed": {"lr": -1.0}}, "not positive"),
        ({"fixed": {"epochs": 6, "val_fraction": 0}}, "nothing to choose by"),
        (
            {"fixed": {"width": 0.5}},
            "fixed: width is a setting of AdamBNN, BCDNet and ResNet18, which binary with MLP does not have",
        ),
        (
            {"cells": [{"datasets": ["Digits"], "models": ["MLP"], "methods": ["bop"], "fixed": {"inertia_bits": 4}}]},
            "entry 1: fixed: inertia_bits is a setting of binary, which bop with MLP does not have",
        ),
        (
            {"search": {"fixed": {"bop": {"mask_type": "EWM"}}}},
            "fixed: bop: mask_type is a setting of binary, which bop does not have; take it out",
        ),
        ({"pretrain": {"fixed": {"epochs": 3}}}, "pretrain says no dataset"),
        (
            {"pretrain": {"dataset": "Digits", "optimizer": "Bop"}},
            "optimizer: 'Bop' is unknown; use SGD or Adam",
        ),
        (
            {"pretrain": {"dataset": "Digits", "fixed": {"inertia_bits": 4}}},
            "inertia_bits means nothing to",
        ),
        ({"pretrain": {"dataset": "Digits", "fixed": {"lr": -1.0}}}, "lr -1.0 is not positive"),
        ({"pretrain": {"dataset": "Digits"}, "fixed": {"pretrained": "x.pth"}}, "has a pretrained file already"),
        ({"fixed": [1]}, "fixed is \\[1\\]; give"),
        ({"confirm": {"seeds": [11, 11]}}, "give each once"),
        ({"confirm": {"seeds": ["a"]}}, "seeds, entry 1 is 'a'; give a whole number"),
        ({"confirm": {"seeds": 3}}, "seeds is 3; give a list"),
        ({"confirm": {"seeds": [1]}}, "the search's own seed"),
        ({"confirm": {"k": -1}}, "k is -1"),
        ({"confirm": {"margin": 0}}, "confirm: margin is 0; give more than 0"),
        ({"confirm": {"margin": float("nan")}}, "margin is nan; give a finite number"),
        ({"confirm": {"margin": "wide"}}, "margin is 'wide'; give a number"),
        ({"name": "../up"}, "cannot be used"),
        ({"name": 3}, "name is 3; give text"),
        ({"name": ""}, "name is ''; give at least one character"),
        ({"cells": []}, r"cells is \[\]; give at least one"),
        (
            {"cells": [{"datasets": ["Digits"], "models": ["MLP"]}]},
            "entry 1 says no methods; it needs at least datasets,",
        ),
        ({"cells": [{"datasets": ["Digits"], "models": ["MPL"], "methods": ["bop"]}]}, "did you mean MLP"),
        (
            {"cells": [{"datasets": ["Digits"], "models": ["MLP"], "methods": ["adam"]}]},
            "'adam' is unknown; use bin.*--plugin",
        ),
        ({"cells": [{"datasets": ["Digits"], "models": ["MLP"], "methods": ["bop", "bop"]}]}, "appears twice"),
        ({"cells": ["Digits"]}, "entry 1 is 'Digits'"),
        ({"fixed": {"epochs": 0}}, "epochs 0 trains nothing, so there is nothing to search"),
        ({"resources": {"workers": 0}}, "resources: workers is 0; give at least 1"),
    ],
)
def test_an_unusable_file_is_refused_with_what_is_allowed(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(tmp_path, **changes)


def test_a_setting_that_some_of_the_methods_read_may_be_fixed_for_all(tmp_path: Path) -> None:
    block = {"datasets": ["Digits"], "models": ["MLP"], "methods": ["bop", "binary"], "fixed": {"inertia_bits": 4}}
    bop, binary = load(tmp_path, cells=[block]).cells
    assert binary.base.own()["inertia_bits"] == 4 and "inertia_bits" not in bop.base.own()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: [", "not a YAML file"),
        ("- a\n- b", "holds list"),
        ("", "holds NoneType"),
        ("name: !!python/object/apply:os.system [exit]", "not a YAML file"),
        ("name: \x00", "not a YAML file"),
    ],
)
def test_text_that_is_no_plain_yaml_mapping_is_refused(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "study.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=message):
        load_study(str(file))


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    file.write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UserError, match="not a YAML file"):
        load_study(str(file))


def test_an_unknown_study_names_the_presets() -> None:
    with pytest.raises(UserError, match="paper, quickstart, six-datasets"):
        load_study("quickstrat")


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRESETS.glob("*.yaml")))
def test_every_preset_is_a_valid_study_of_its_own_name(preset: str) -> None:
    study = load_study(preset)
    assert study.name == preset
    assert len(study.confirm.seeds) >= 3
    assert {cell.method for cell in study.cells} >= {"binary", "bop", "frozen", "real-SGD", "real-Adam"}


def test_contrasts_name_methods_of_the_study(tmp_path: Path) -> None:
    assert load(tmp_path, contrasts=[["binary", "real-SGD"]]).contrasts == (("binary", "real-SGD"),)
    with pytest.raises(UserError, match="contrasts: 'bop' is no method of this study; use two of binary, real-SGD"):
        load(tmp_path, contrasts=[["binary", "bop"]])
    with pytest.raises(UserError, match="contrasts: 'binary' is compared with itself"):
        load(tmp_path, contrasts=[["binary", "binary"]])


def test_seeds_that_confirm_nothing_may_be_the_searchs(tmp_path: Path) -> None:
    assert load(tmp_path, search={"trials": 2, "seed": 11}, confirm={"k": 0}).search.seed == 11


def test_a_pretraining_is_of_the_cells_own_network(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    own = {"dataset": "Digits", "seed": 5, "fixed": {"classes": "..4", "epochs": 2, "lr": 0.02}}
    file.write_text(yaml.safe_dump(content(pretrain=own, fixed={"epochs": 6, "hid_dim": 32, "classes": "5.."})))
    study = load_study(str(file))
    assert set(study.pretrainings) == {cell.name for cell in study.cells}
    (made,) = set(study.pretrainings.values())  # the methods share one
    assert (made.algorithm, made.optimizer, made.classes, made.epochs, made.lr) == ("real", "Adam", "..4", 2, 0.02)
    assert (made.hid_dim, made.seed, made.pretrained) == (32, 5, None)


def test_repeats_search_every_cell_again_with_seeds_of_their_own(tmp_path: Path) -> None:
    study = load(tmp_path, search={"trials": 4, "seed": 5, "repeats": 3})
    names = [cell.name for cell in study.cells]
    assert names[:3] == ["Digits-MLP-binary", "Digits-MLP-binary-r2", "Digits-MLP-binary-r3"] and len(names) == 6
    assert [(cell.search.seed, cell.base.seed) for cell in study.cells[:3]] == [(5, 5), (6, 6), (7, 7)]
    assert {cell.method for cell in study.cells} == {"binary", "real-SGD"}
    assert load(tmp_path, search={"trials": 4, "seed": 6}).cells[0].identity() == study.cells[1].identity()
    (once,) = {cell.name for cell in load(tmp_path, search={"trials": 4}).cells if cell.method == "binary"}
    assert once == "Digits-MLP-binary"


def test_repeats_want_seeds_that_no_search_has_and_one_objective(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="confirmation seed 11 is that of a repeated search; give fresh seeds"):
        load(tmp_path, search={"seed": 10, "repeats": 3})
    both = {"repeats": 2, "objectives": ["val_accuracy", "peak_memory_bytes"]}
    with pytest.raises(UserError, match="take repeats out, or give objectives"):
        load(tmp_path, search=both)
