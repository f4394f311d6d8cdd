"""One run: it learns, it can be repeated, it can be interrupted, and it says when it went wrong."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from trainers.checkpoint import best_checkpoint, last_checkpoint
from trainers.config import TrialConfig
from trainers.data.loader import PreparedData, open_prepared
from trainers.epochs import epoch_batches, measured_step_number
from trainers.errors import DivergedError, ReplicaError, UserError
from trainers.host import run_local
from trainers.learner import Learner
from trainers.memory.report import CATEGORIES
from trainers.preflight import check_alone, preflight
from trainers.progress import Metrics
from trainers.replicas import Replicas, state_hash
from trainers.worker import train

MakeConfig = Callable[..., TrialConfig]

RULES: list[dict[str, Any]] = [
    {"algorithm": "binary"},
    {"algorithm": "binary", "mask_type": "RAND", "temperature": 0.001},
    {"algorithm": "binary", "scheduler_type": "relative", "temperature": 0.02, "anneal": "cosine"},
    *(
        {"algorithm": "binary", "scheduler_type": "relative", "temperature": 0.3, "inertia_bits": bits}
        for bits in (2, 4, 8)
    ),
    {"algorithm": "bop", "lr": 1e-2},
    {"algorithm": "real", "optimizer": "Adam", "lr": 1e-2},
    {"algorithm": "frozen"},
]


LAYERS = ("feature.0", "feature.3", "classifier.0")


class InterruptError(Exception):
    """Stands for whatever ends a run between two epochs."""


def weights(run_dir: Path) -> dict[str, torch.Tensor]:
    with safe_open(last_checkpoint(run_dir), framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)


def results(epochs: list[Metrics]) -> list[Metrics]:
    """What does not depend on the clock, or on whether an epoch is told again."""
    own = ("train_seconds", "device_seconds", "replayed")
    return [{key: value for key, value in metrics.items() if key not in own} for metrics in epochs]


@pytest.mark.parametrize("settings", RULES, ids=lambda s: "-".join(str(v) for v in s.values()))
def test_a_resumed_run_is_bit_identical_to_an_uninterrupted_one(
    settings: dict[str, Any], digits: MakeConfig, tmp_path: Path
) -> None:
    config = digits(**settings, epochs=3)
    whole, interrupted = tmp_path / "whole", tmp_path / "interrupted"
    expected: list[Metrics] = []
    run_local(config, whole, expected.append)
    got: list[Metrics] = []

    def stop_after_first(metrics: Metrics) -> None:
        got.append(metrics)
        raise InterruptError

    with pytest.raises(InterruptError):
        run_local(config, interrupted, stop_after_first)
    run_local(config, interrupted, got.append)
    assert [metrics.get("replayed", False) for metrics in got] == [False, True, False, False]
    assert results(got[1:]) == results(expected)
    assert results(got[:1]) == results(expected[:1])
    first, second = weights(whole), weights(interrupted)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_binsfo_learns_the_digits_and_its_control_does_not(digits: MakeConfig, tmp_path: Path) -> None:
    learned = run_local(digits(hid_dim=256, epochs=4, test=True), tmp_path / "binary")
    control = run_local(digits("frozen", hid_dim=256, epochs=4, test=True), tmp_path / "frozen")
    assert learned["test_accuracy"] > 0.75  # chance is 0.1; 0.85 measured
    assert control["test_accuracy"] < 0.4  # an MLP has no real parameter, so nothing learns
    assert control["flip_rate"] == 0.0


def test_epochs_report_what_a_comparison_needs(digits: MakeConfig, tmp_path: Path) -> None:
    epochs: list[Metrics] = []
    final = run_local(digits(test=True), tmp_path, epochs.append)
    assert [metrics["epoch"] for metrics in epochs] == [1, 2]
    for metrics in epochs:
        assert set(metrics) == {
            *("epoch", "train_loss", "flip_rate", "flips_per_weight", "flipped_share", "lr", "temperature"),
            *("val_accuracy", "val_accuracy_top5", "val_accuracy_balanced", "val_majority_share"),
            *("peak_memory_bytes", "state_bits_per_weight", "train_seconds", "device_seconds"),
            *(f"memory_{category}_bytes" for category in CATEGORIES),
        }
        assert metrics["peak_memory_bytes"] == sum(metrics[f"memory_{category}_bytes"] for category in CATEGORIES)
        assert 0 < metrics["flip_rate"] < 1
        assert 1 <= metrics["state_bits_per_weight"] < 1.1  # a bit, and what fills rows up to whole bytes
        assert metrics["val_accuracy"] <= metrics["val_accuracy_top5"] <= 1
    assert final["status"] == "completed"
    assert final["test_accuracy"] <= final["test_accuracy_top5"]
    assert epochs[0]["device_seconds"] < epochs[1]["device_seconds"] < final.pop("device_seconds")
    assert json.loads((tmp_path / "result.json").read_text()) == final


def test_the_test_set_is_opened_once_and_only_if_asked_for(
    digits: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    split = PreparedData.split

    def watched(self: PreparedData, name: str, *args: Any, **kwargs: Any) -> Any:
        opened.append(name)
        return split(self, name, *args, **kwargs)

    monkeypatch.setattr(PreparedData, "split", watched)
    assert "test_accuracy" not in run_local(digits(), tmp_path)
    assert "test" not in opened
    first = run_local(digits(test=True), tmp_path)
    again = run_local(digits(test=True), tmp_path)
    assert opened.count("test") == 1
    assert first["test_accuracy"] == again["test_accuracy"]


def test_the_runs_folder_is_made_where_there_is_none(digits: MakeConfig, tmp_path: Path) -> None:
    run_dir = tmp_path / "not" / "yet"
    train(digits(epochs=1), run_dir, Replicas(0, 1), torch.device("cpu"), lambda metrics: None)
    assert best_checkpoint(run_dir).exists()


def test_without_validation_all_of_train_is_trained_on(digits: MakeConfig, tmp_path: Path) -> None:
    final = run_local(digits(val_fraction=0.0, epochs=1), tmp_path)
    assert "val_accuracy" not in final
    assert best_checkpoint(tmp_path).exists()


def test_a_loss_that_is_not_finite_ends_the_run_before_weights_take_it(
    digits: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.nn.functional, "cross_entropy", lambda *args, **kwargs: torch.tensor(torch.nan))
    with pytest.raises(DivergedError, match="at step 1"):
        run_local(digits(), tmp_path)
    assert not last_checkpoint(tmp_path).exists()


def test_a_loss_left_on_a_gpu_is_found_at_the_epochs_end_before_anything_is_saved(
    digits: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([1.0, torch.nan])
    monkeypatch.setattr(Learner, "train_step", lambda *_: torch.tensor(next(losses, 1.0), dtype=torch.float64))
    with pytest.raises(DivergedError, match="nan in epoch 1"):
        run_local(digits(), tmp_path)
    assert not last_checkpoint(tmp_path).exists()


def test_a_folder_of_another_run_is_refused_with_what_differs(digits: MakeConfig, tmp_path: Path) -> None:
    run_local(digits(), tmp_path)
    with pytest.raises(UserError, match=r"belongs to another run: lr was 1.0, is 2.0"):
        run_local(digits(lr=2.0), tmp_path)


def test_a_damaged_last_checkpoint_gives_way_to_the_best_one_and_is_said(digits: MakeConfig, tmp_path: Path) -> None:
    config = digits(epochs=3)
    whole: list[Metrics] = []
    run_local(config, tmp_path, whole.append)
    expected = {name: tensor.clone() for name, tensor in weights(tmp_path).items()}  # not a view of the file
    path = last_checkpoint(tmp_path)
    damaged = bytearray(path.read_bytes())
    damaged[-9] ^= 1  # one bit of one tensor
    path.write_bytes(damaged)
    best = max(whole, key=lambda metrics: (metrics["val_accuracy"], -metrics["epoch"]))["epoch"]
    again: list[Metrics] = []
    run_local(config, tmp_path, again.append)
    assert [metrics.get("replayed", False) for metrics in again] == [epoch < best for epoch in range(3)]
    assert "last.safetensors cannot be read (its content is not what was written)" in again[0]["note"]
    assert again[0]["note"].endswith(f"the run goes on from its best checkpoint, of epoch {best}")
    assert results([{k: v for k, v in metrics.items() if k != "note"} for metrics in again]) == results(whole)
    assert all(torch.equal(expected[name], tensor) for name, tensor in weights(tmp_path).items())


def test_a_run_without_a_whole_checkpoint_is_refused_and_keeps_what_is_there(
    digits: MakeConfig, tmp_path: Path
) -> None:
    run_local(digits(epochs=1), tmp_path)
    paths = (last_checkpoint(tmp_path), best_checkpoint(tmp_path))
    for path in paths:
        path.write_bytes(path.read_bytes()[:-40])
    before = [path.read_bytes() for path in paths]
    with pytest.raises(UserError, match=r"last.safetensors cannot be read .*best.safetensors cannot be read .*remove "):
        run_local(digits(epochs=1), tmp_path)
    assert [path.read_bytes() for path in paths] == before


def test_peak_memory_is_the_same_in_equal_runs_and_larger_for_adam(digits: MakeConfig, tmp_path: Path) -> None:
    def peak(name: str, **settings: Any) -> int:
        return run_local(digits(hid_dim=512, epochs=1, **settings), tmp_path / name)["peak_memory_bytes"]

    assert peak("a") == peak("b")
    assert peak("adam", algorithm="real", optimizer="Adam", lr=1e-3) > peak("bop", algorithm="bop", lr=1e-3) > peak("c")


def test_a_checkpoint_of_packed_weights_holds_one_bit_a_weight(digits: MakeConfig, tmp_path: Path) -> None:
    run_local(digits(hid_dim=512, epochs=1), tmp_path)
    weight_count = 64 * 512 + 512 * 512 + 512 * 10
    assert last_checkpoint(tmp_path).stat().st_size < weight_count // 8 + 16_000  # running statistics and names


def test_a_checkpoint_holds_the_counters_in_their_bits_and_the_check_of_replicas_sees_them(
    digits: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked: list[set[str]] = []
    compare = Replicas.require_equal

    def watched(self: Replicas, model: Any, state: Any, epoch: int) -> None:
        checked.append(set(state))
        compare(self, model, state, epoch)

    monkeypatch.setattr(Replicas, "require_equal", watched)
    run_local(digits(hid_dim=512, epochs=1, inertia_bits=4, scheduler_type="relative", temperature=0.3), tmp_path)
    weight_count = 64 * 512 + 512 * 512 + 512 * 10
    assert last_checkpoint(tmp_path).stat().st_size < 5 * weight_count // 8 + 16_000
    counters = {name: tensor for name, tensor in weights(tmp_path).items() if name.endswith("/counters")}
    assert sum(tensor.numel() for tensor in counters.values()) == weight_count // 2
    assert checked == [{name.removeprefix("rule.") for name in counters} | {f"{layer}/deviation" for layer in LAYERS}]


def test_a_cosine_ends_with_the_runs_last_step(digits: MakeConfig, tmp_path: Path) -> None:
    epochs: list[Metrics] = []
    kept = {"scheduler_type": "const", "temperature": 2.0, "epochs": 4}
    run_local(digits(**kept, anneal="cosine"), tmp_path / "cosine", epochs.append)
    temperatures = [metrics["temperature"] for metrics in epochs]
    steps = 4 * len(epoch_batches(digits().batch_size * 14, digits(), 0))
    assert temperatures == sorted(temperatures, reverse=True)
    assert sum(temperatures) / 4 == pytest.approx(1.0, abs=2 / steps)  # half of it on average
    assert 0 < temperatures[-1] < 0.15  # 2·(1 - cos(x))/2 over the last quarter


def test_a_run_of_no_epochs_evaluates_the_network_as_it_starts(digits: MakeConfig, tmp_path: Path) -> None:
    epochs: list[Metrics] = []
    config = digits(epochs=0, test=True)
    found = run_local(config, tmp_path, epochs.append)
    assert not epochs and found["epoch"] == 0 and found["status"] == "completed"
    assert 0 <= found["val_accuracy"] <= 1 and found["test_images"] > 0
    assert json.loads((tmp_path / "result.json").read_text())["val_accuracy"] == found["val_accuracy"]
    data = open_prepared("Digits", config.data_root, image_size=config.image_size)
    start = Learner(config, data, Replicas(), torch.device("cpu")).model.state_dict()
    assert all(torch.equal(weights(tmp_path)[f"model.{name}"], tensor) for name, tensor in start.items())
    assert results([run_local(config, tmp_path)]) == results([found])


def test_every_epoch_has_its_own_order_of_all_images(digits: MakeConfig) -> None:
    config = digits(batch_size=10)
    first, second = (np.concatenate(epoch_batches(95, config, epoch)) for epoch in (0, 1))
    assert sorted(first) == sorted(second) == list(range(95))
    assert first.tolist() != second.tolist()
    assert np.concatenate(epoch_batches(95, config, 0)).tolist() == first.tolist()


def test_a_last_batch_too_small_for_batch_statistics_is_left_out(digits: MakeConfig) -> None:
    assert [len(batch) for batch in epoch_batches(21, digits(batch_size=10), 0)] == [10, 10]
    assert [len(batch) for batch in epoch_batches(22, digits(batch_size=10), 0)] == [10, 10, 2]
    assert [len(batch) for batch in epoch_batches(22, digits(batch_size=10, workers=3), 0)] == [10, 10]


@pytest.mark.parametrize(
    ("count", "epochs", "number"),
    [(30, 1, 1), (25, 1, 1), (19, 2, 2), (19, 1, 0), (8, 2, 1), (8, 1, 0), (11, 1, 0), (11, 2, 1)],
)
def test_the_measured_step_is_the_first_full_batch_after_the_first_step(
    count: int, epochs: int, number: int, digits: MakeConfig
) -> None:
    assert measured_step_number(count, digits(batch_size=10, epochs=epochs)) == number


def test_one_worker_hashes_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.replicas.state_hash", lambda model, state: pytest.fail("hashed"))
    Replicas().require_equal(torch.nn.Linear(2, 2), {}, 1)


def test_workers_that_hold_other_weights_are_found_and_named(
    digits: MakeConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = digits()
    data = open_prepared("Digits", config.data_root, image_size=8)
    learner = Learner(config, data, Replicas(), torch.device("cpu"))
    assert state_hash(learner.model, {}) != state_hash(learner.model, {"accumulator": 1.0})
    counters = torch.zeros(2, 3, dtype=torch.uint8)
    kept = state_hash(learner.model, {"counters": counters, "deviation": 1.0})
    counters[1, 2] = 1
    assert state_hash(learner.model, {"counters": counters, "deviation": 1.0}) != kept
    replicas = Replicas(rank=0, size=3)
    monkeypatch.setattr(Replicas, "gather", lambda self, tensor: [tensor, tensor, tensor])
    replicas.require_equal(learner.model, {}, 1)
    monkeypatch.setattr(Replicas, "gather", lambda self, tensor: [tensor, tensor, tensor + 1])
    with pytest.raises(ReplicaError, match=r"after epoch 7 workers \[2\] hold other weights"):
        replicas.require_equal(learner.model, {}, 7)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 5000}, r"batch_size 5000 is larger than the \d+ training images of Digits"),
        ({"train_per_class": 2}, r"the 20 training images of Digits \(val_fraction 0.1, train_per_class 2\); use"),
        ({"model": "AdamBNN", "image_size": 8}, "AdamBNN cannot take images of 8x8"),
        ({"algorithm": "bop", "lr": 3.0}, "adaptivity rate"),
        ({"model": "AdamBNN", "image_size": 32, "freeze_num": 99}, "freeze_num 99 exceeds"),
        ({"model": "AdamBNN", "image_size": 32, "pretrained": "/nowhere.pth"}, "/nowhere.pth"),
        ({"dataset": "Digitz"}, "Digits"),
    ],
)
def test_preflight_refuses_what_would_fail_later(settings: dict[str, Any], message: str, digits: MakeConfig) -> None:
    with pytest.raises(UserError, match=message):
        preflight(digits().replace(**settings))


def test_a_pretrained_file_that_is_not_there_is_found_without_any_data(digits: MakeConfig, tmp_path: Path) -> None:
    for path, what in ((tmp_path / "no.params", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(UserError, match=f"{path} {what}; docs/pretrained.md says"):
            check_alone(digits(pretrained=str(path), data_root=str(tmp_path / "no data")))


def test_preflight_finds_the_native_image_size(digits: MakeConfig) -> None:
    assert preflight(digits(image_size=None)).image_size == 8
