"""What a run is called by its settings stays what it was: a run that was begun before goes on in its own folder."""

from typing import Any

import pytest

from trainers.config import TrialConfig
from trainers.registry import configuration_settings, declared, fields_of
from trainers.run_settings import COMMON, REAL_PARAMETERS

# As they were when every setting was a field of one class.
FINGERPRINTS: dict[str, dict[str, Any]] = {
    "c5fe42f25aabee65fae9e940ec9bdc0b": {"dataset": "Digits", "model": "MLP", "algorithm": "binary"},
    "f291186aa2046d932b3c6c5e6432ddcb": {
        "dataset": "MNIST",
        "model": "MLP",
        "algorithm": "binary",
        "mask_type": "WPM",
        "scheduler_type": "gaussian",
        "temperature": 37.0,
        "hid_dim": 512,
        "depth": 3,
        "epochs": 10,
        "batch_size": 96,
    },
    "2919e870f601e7bd8b4f313f8b859f51": {
        "dataset": "CIFAR10",
        "model": "AdamBNN",
        "algorithm": "binary",
        "mask_type": "RAND",
        "scheduler_type": "const",
        "temperature": 1,
        "lr": 1,
    },
    "ea860ebac27f3aad729a80772be0b1bc": {
        "dataset": "CIFAR10",
        "model": "AdamBNN",
        "algorithm": "binary",
        "scheduler_type": "relative",
        "temperature": 0.3,
        "inertia_bits": 4,
        "anneal": "cosine",
        "width": 0.25,
        "image_size": 32,
    },
    "cf007523a7584127423438cd5d111efa": {"dataset": "Digits", "model": "MLP", "algorithm": "binary", "inertia_bits": 8},
    "2c8e7c62cb448f6bf34a80f4310f6955": {
        "dataset": "CIFAR100",
        "model": "BCDNet",
        "algorithm": "bop",
        "bop_threshold": 1e-07,
        "bop_momentum_bits": 16,
        "freeze_num": 2,
    },
    "186741df1be1141d08d1b5f22065b1ec": {
        "dataset": "Digits",
        "model": "MLP",
        "algorithm": "bop",
        "seed": 11,
        "test": True,
        "device": "cpu",
        "data_root": "/elsewhere",
    },
    "fceabcfc44339497a0b408b103a5dce5": {"dataset": "Digits", "model": "MLP", "algorithm": "real"},
    "d67fbdb08f44780cbb91a1282bf9270d": {
        "dataset": "OxfordPets",
        "model": "AdamBNN",
        "algorithm": "real",
        "optimizer": "Adam",
        "activation_memory": "packed",
        "workers": 2,
        "threads": 4,
    },
    "cbd38029d103c3ded6b8b01341f7226c": {
        "dataset": "Digits",
        "model": "MLP",
        "algorithm": "frozen",
        "val_fraction": 0,
        "approx": "ApproxSign",
    },
    "d56560fb7e653dab4deb89ad197c8b14": {
        "dataset": "/data/own.parquet",
        "model": "BCDNet",
        "algorithm": "frozen",
        "xnor": True,
        "check": True,
        "prepared_root": "/p",
    },
    "89593e80bd386f6fffc5e8d0ffafcacc": {
        "dataset": "Caltech101",
        "model": "AdamBNN",
        "algorithm": "bop",
        "pretrained": "AdamBNN.pth.tar",
        "weight_scale": "none",
        "approx": "ReSTE",
    },
    "dad3d5d8aca1953081b0dc938a17fe88": {
        "dataset": "Digits",
        "model": "MLP",
        "algorithm": "real",
        "scheduler_type": "gaussian",
        "mask_type": "RAND",
        "width": 2,
        "lr": 1.0,
    },
    "983a4bb037e7e5c97e9441310073c63a": {
        "dataset": "Digits",
        "model": "MLP",
        "algorithm": "bop",
        "inertia_bits": 4,
        "anneal": "cosine",
    },
}


@pytest.mark.parametrize("fingerprint", FINGERPRINTS)
def test_a_configuration_keeps_the_fingerprint_that_it_had_before_methods_were_objects(fingerprint: str) -> None:
    assert TrialConfig.recorded(FINGERPRINTS[fingerprint]).fingerprint() == fingerprint


def test_every_configuration_still_has_every_setting_of_the_flat_formats() -> None:
    common = {setting.name for setting in COMMON}
    flat = {name for name, setting in declared().items() if setting.since < 3}
    real = {setting.name for setting in REAL_PARAMETERS}
    for settings in FINGERPRINTS.values():
        beside = set() if settings["model"] == "MLP" else real
        assert set(TrialConfig(**settings).to_dict()) == flat | common | beside


def test_two_runs_that_train_different_weights_are_two_configurations() -> None:
    told_apart = {setting.name for setting in configuration_settings()}
    identity = {name for name, setting in fields_of("binary", "MLP").items() if setting.identity}
    assert identity - told_apart == {"dataset", "model", "algorithm", "seed"}
