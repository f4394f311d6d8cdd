"""Runs are called so that people know them in a list that is cut off on the right."""

from typing import Any

import pytest

from study.mlflow_export.names import run_name, sweep_name
from study.record.study_log import TrialRecord
from trainers.config import TrialConfig


def named(trial_id: str, label: str, phase: str = "search", tags: dict[str, str] | None = None, **settings: Any) -> str:
    config = TrialConfig("Digits", "MLP", **settings).to_dict()
    return run_name(TrialRecord(trial_id, None, phase, label, config, tags or {}))


def test_a_trial_is_called_by_its_settings_and_its_number() -> None:
    settings = {"algorithm": "binary", "mask_type": "EWM", "temperature": 129.4}
    name = named("Digits-MLP-binary-search-0003", "binary", **settings)
    assert name == "BinSFO EWM scaled-gaussian T=129 · trial 3"
    adam = {"algorithm": "real", "optimizer": "Adam", "lr": 0.01}
    assert named("Digits-MLP-real-Adam-search-0012", "real-Adam", **adam) == "real-Adam lr=0.01 · trial 12"


def test_a_confirmation_is_called_by_its_seed() -> None:
    adam = {"algorithm": "real", "optimizer": "Adam", "seed": 11}
    best = named("Digits-MLP-real-Adam-confirm-0003-s11", "real-Adam", "confirm", {"rank": "1"}, **adam)
    second = named("Digits-MLP-real-Adam-confirm-0007-s11", "real-Adam", "confirm", {"rank": "2"}, **adam)
    assert (best, second) == ("real-Adam · seed 11", "real-Adam #7 · seed 11")
    variant = named("x-confirm-0001-s12", "binary-EWM-gaussian", "confirm", algorithm="binary", seed=12)
    assert variant == "BinSFO-EWM-gaussian · seed 12"


def test_a_run_of_a_method_that_is_not_known_here_has_a_name_too() -> None:
    config = {"algorithm": "elsewhere", "seed": 4}
    assert run_name(TrialRecord("c-search-0001", None, "search", "elsewhere", config, {})) == "elsewhere · trial 1"
    assert run_name(TrialRecord("x", None, "train", "elsewhere", config, {})) == "elsewhere · seed 4"


@pytest.mark.parametrize(
    ("tags", "name"),
    [
        ({"method": "bop", "algorithm": "bop", "dataset": "Digits", "model": "MLP"}, "Bop · Digits · MLP"),
        ({"method": "real-SGD", "algorithm": "real", "dataset": "MNIST", "model": "MLP"}, "real-SGD · MNIST · MLP"),
        ({}, "the-cell"),
    ],
)
def test_a_sweep_is_called_by_its_method_and_on_what(tags: dict[str, str], name: str) -> None:
    assert sweep_name(tags, "the-cell") == name
