"""How many weights a run flipped in all: counted against the bits that it began with, which lie on disk."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from trainers.config import TrialConfig
from trainers.data.loader import open_prepared
from trainers.epochs import epoch_batches
from trainers.host import run_local
from trainers.learner import Learner
from trainers.preflight import preflight
from trainers.progress import Metrics
from trainers.replicas import Replicas
from trainers.starting_bits import bits_of, flipped_since_start, keep_start, start_file
from trainers.testing import MLP_IMAGE, learner_of, signs, train

MakeConfig = Callable[..., TrialConfig]
METHODS: list[dict[str, Any]] = [
    {"algorithm": "binary", "temperature": 3.0},
    {"algorithm": "real", "optimizer": "Adam", "lr": 1e-2},
    {"algorithm": "frozen"},
]


@pytest.mark.parametrize("settings", METHODS, ids=lambda s: s["algorithm"])
def test_a_run_reports_the_weights_that_differ_from_its_start_and_all_flips(
    settings: dict[str, Any], digits: MakeConfig, tmp_path: Path
) -> None:
    config = preflight(digits(**settings, epochs=2))
    epochs: list[Metrics] = []
    final = run_local(config, tmp_path, epochs.append)
    data = open_prepared(config.dataset, config.data_root, image_size=config.image_size)
    steps = len(epoch_batches(len(data.split("train", config.val_fraction)), config, 0))
    summed = [sum(one["flip_rate"] for one in epochs[:count]) * steps for count in (1, 2)]
    assert [one["flips_per_weight"] for one in epochs] == pytest.approx(summed)
    assert all(0 <= one["flipped_share"] <= min(1, one["flips_per_weight"]) for one in epochs)
    by_layer = final["flipped_by_layer"]
    learner = Learner(config, data, Replicas(), torch.device("cpu"))
    sizes = {name: weight.numel() for name, weight in signs(learner.model).items()}
    assert by_layer.keys() == sizes.keys()
    counted = sum(by_layer[name] * size for name, size in sizes.items()) / sum(sizes.values())
    assert final["flipped_share"] == pytest.approx(counted, abs=1e-6)  # shares by layer have six decimals
    assert (final["flipped_share"] > 0) == (settings["algorithm"] != "frozen")


@pytest.mark.parametrize("settings", METHODS[:2], ids=lambda s: s["algorithm"])
def test_counts_by_layer_are_those_of_the_signs(settings: dict[str, Any], tmp_path: Path) -> None:
    learner = learner_of(*MLP_IMAGE, {"model": "MLP", "hid_dim": 33, **settings})  # rows that fill no bytes
    before = signs(learner.model)
    keep_start(tmp_path, "a run", bits_of(learner.model))
    weights = sum(weight.numel() for weight in before.values())
    assert start_file(tmp_path).stat().st_size < weights / 8 * 1.1 + 2000  # a bit each, filled rows and a header
    train(learner, *MLP_IMAGE, 5)
    after = signs(learner.model)
    expected = {name: int((before[name] != after[name]).sum()) for name in before}
    assert flipped_since_start(tmp_path, learner.model) == expected and sum(expected.values()) > 0


def test_a_start_file_that_is_lost_or_damaged_is_made_again_when_the_run_goes_on(
    digits: MakeConfig, tmp_path: Path
) -> None:
    config = digits(temperature=3.0, epochs=3)
    whole = run_local(config, tmp_path / "whole")
    for damage in (lambda path: path.unlink(), lambda path: path.write_bytes(b"no bits")):
        folder = tmp_path / f"run{damage.__code__.co_firstlineno}{damage.__code__.co_names[0]}"

        def stop(metrics: Metrics) -> None:
            raise InterruptedError

        with pytest.raises(InterruptedError):
            run_local(config, folder, stop)
        damage(start_file(folder))
        resumed = run_local(config, folder)
        for name in ("flipped_share", "flips_per_weight", "flipped_by_layer"):
            assert resumed[name] == whole[name], name


def test_a_start_that_cannot_be_read_is_unknown_and_ends_no_run(tmp_path: Path) -> None:
    learner = learner_of(*MLP_IMAGE, {"model": "MLP", "hid_dim": 16, "algorithm": "binary"})
    assert flipped_since_start(tmp_path, learner.model) is None
    start_file(tmp_path).write_bytes(b"x" * 100)
    assert flipped_since_start(tmp_path, learner.model) is None
