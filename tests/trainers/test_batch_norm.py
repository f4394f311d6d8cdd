"""Statistics that evaluation normalises by: running ones lag behind flipping weights, reestimated ones do not."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from torch import nn

from trainers.batch_norm import reestimate_statistics
from trainers.checkpoint import last_checkpoint
from trainers.config import TrialConfig
from trainers.host import run_local
from trainers.progress import Metrics

MakeConfig = Callable[..., TrialConfig]


def test_reestimated_statistics_are_the_mean_over_the_batches_for_the_weights_of_now() -> None:
    generator = torch.Generator().manual_seed(1)
    batches = [torch.randn(8, 3, generator=generator) * 5 + 2 for _ in range(4)]
    model = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.BatchNorm1d(6))
    model.train()
    model[2].eval()
    before = model[2].running_mean.clone()
    model[1].running_mean.fill_(1e6)
    reestimate_statistics(model, batches)
    seen = [model[0](batch) for batch in batches]
    torch.testing.assert_close(model[1].running_mean, torch.stack([x.mean(0) for x in seen]).mean(0))
    torch.testing.assert_close(model[1].running_var, torch.stack([x.var(0) for x in seen]).mean(0))
    assert torch.equal(model[2].running_mean, before), "a frozen norm keeps its own"
    assert model[1].momentum == 0.1


def tensors(run_dir: Path) -> dict[str, torch.Tensor]:
    with safe_open(last_checkpoint(run_dir), framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)


@pytest.mark.parametrize("settings", [{"algorithm": "binary"}, {"algorithm": "real", "optimizer": "Adam", "lr": 1e-2}])
def test_reestimating_changes_what_is_validated_and_no_step(
    settings: dict[str, object], digits: MakeConfig, tmp_path: Path
) -> None:
    epochs: dict[str, list[Metrics]] = {"running": [], "reestimated": []}
    for kind, told in epochs.items():
        run_local(digits(**settings, norm_statistics=kind), tmp_path / kind, told.append)
    assert [m["train_loss"] for m in epochs["running"]] == [m["train_loss"] for m in epochs["reestimated"]]
    running, reestimated = tensors(tmp_path / "running"), tensors(tmp_path / "reestimated")
    statistics = {name for name in running if "running_" in name}
    assert statistics and not any(torch.equal(running[name], reestimated[name]) for name in statistics)
    others = {name for name in running if "running_" not in name and "num_batches" not in name}
    assert others and all(torch.equal(running[name], reestimated[name]) for name in others)


def test_flipping_weights_are_validated_better_by_their_own_statistics(digits: MakeConfig, tmp_path: Path) -> None:
    """At this temperature a tenth of the weights flips in a step; a mean over past steps is of other networks."""
    hot = {"hid_dim": 256, "scheduler_type": "gaussian", "temperature": 1000.0, "epochs": 3, "val_fraction": 0.3}
    accuracy = {
        kind: run_local(digits(**hot, norm_statistics=kind), tmp_path / kind)["val_accuracy"]
        for kind in ("running", "reestimated")
    }
    assert accuracy["reestimated"] > accuracy["running"]


def test_runs_of_before_there_was_a_choice_keep_their_name(digits: MakeConfig) -> None:
    config = digits()
    assert config.norm_statistics == "running"
    assert config.fingerprint() != config.replace(norm_statistics="reestimated").fingerprint()
    assert config.fingerprint() == digits(norm_statistics="running").fingerprint()
