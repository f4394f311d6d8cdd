"""A run that is asked to stop finishes its step, and goes on later as if it had not been asked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from tests.trainers.pair import run_pair
from trainers.attempt import Attempt
from trainers.checkpoint import last_checkpoint
from trainers.config import TrialConfig
from trainers.errors import StoppedError
from trainers.host import run_local
from trainers.learner import Learner
from trainers.progress import Metrics, Progress
from trainers.replicas import Replicas
from trainers.stop import clear_stop, request_stop, require_no_stop
from trainers.worker import train

MakeConfig = Callable[..., TrialConfig]

RULES: list[dict[str, Any]] = [
    {"algorithm": "binary", "activation_memory": "packed"},
    {"algorithm": "bop", "lr": 1e-2, "bop_momentum_bits": 16},
    {"algorithm": "real", "optimizer": "Adam", "lr": 1e-2},
]

# Before the measured step, after it, in the middle of the second epoch, and after the last step of an epoch: of the 17
# steps that an epoch of the digits takes in batches of 96.
STOPS = (1, 2, 20, 34)


def name_of(settings: dict[str, Any]) -> str:
    return str(settings["algorithm"])


def train_with_stops(config: TrialConfig, run_dir: Path, replicas: Replicas, stops: tuple[int, ...]) -> list[Metrics]:
    """Train, asked to stop in each of these steps (from 1) by worker 0; returns the epochs that were told as new."""
    stop_file = run_dir / ".stop"
    run_dir.mkdir(exist_ok=True)
    epochs: list[Metrics] = []
    step_of = Learner.train_step

    def asked_to_stop(self: Learner, images: Any, labels: Any, step: int, *rest: Any) -> float:
        if step + 1 in stops and replicas.rank == 0:
            request_stop(stop_file)
        return step_of(self, images, labels, step, *rest)

    Learner.train_step = asked_to_stop  # type: ignore[method-assign]
    try:
        for attempt in range(len(stops) + 1):
            told: list[Metrics] = []
            try:
                train(config, run_dir, replicas, torch.device("cpu"), told.append, Attempt(stop_file))
                stopped = False
            except StoppedError:
                stopped = True
            assert stopped == (attempt < len(stops))
            epochs += [metrics for metrics in told if not metrics.get("replayed")]
            assert [metrics["epoch"] for metrics in told] == list(range(1, len(told) + 1))
            replicas.barrier()
            if replicas.rank == 0:
                clear_stop(stop_file)
            replicas.barrier()
    finally:
        Learner.train_step = step_of  # type: ignore[method-assign]
    return epochs


def results(epochs: list[Metrics]) -> list[Metrics]:
    return [{k: v for k, v in metrics.items() if not k.endswith("_seconds")} for metrics in epochs]


def same_bits(one: Path, other: Path) -> bool:
    first, second = load_file(last_checkpoint(one)), load_file(last_checkpoint(other))
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("settings", RULES, ids=name_of)
def test_a_run_stopped_in_the_middle_of_epochs_ends_with_the_same_bits_and_metrics(
    settings: dict[str, Any], digits: MakeConfig, tmp_path: Path
) -> None:
    config = digits(**settings, epochs=3)
    whole: list[Metrics] = []
    run_local(config, tmp_path / "whole", whole.append)
    stopped = train_with_stops(config, tmp_path / "stopped", Replicas(), STOPS)
    assert results(stopped) == results(whole)
    assert same_bits(tmp_path / "whole", tmp_path / "stopped")


def _one_of_two(rank: int, folder: str, settings: dict[str, Any], stops: tuple[int, ...]) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    epochs = train_with_stops(TrialConfig.from_dict(settings), Path(folder), Replicas(rank, 2), stops)
    # gloo gives its buffers back on threads of its own: a step's peak differs by a kilobyte from run to run.
    steady = [{k: v for k, v in metrics.items() if "memory" not in k} for metrics in results(epochs)]
    (Path(folder) / f"epochs-{rank}.txt").write_text(repr(steady))
    dist.destroy_process_group()


@pytest.mark.integration
@pytest.mark.parametrize("settings", RULES, ids=name_of)
def test_two_workers_stop_at_the_same_step_and_go_on_to_the_same_bits_and_metrics(
    settings: dict[str, Any], digits: MakeConfig, tmp_path: Path
) -> None:
    config = digits(**settings, epochs=2, workers=2)
    for name, stops in (("whole", ()), ("stopped", (2, 20))):
        (tmp_path / name).mkdir()
        run_pair(_one_of_two, str(tmp_path / name), config.to_dict(), stops)
    told = {path.read_text() for path in tmp_path.glob("*/epochs-*.txt")}
    assert len(told) == 1
    assert same_bits(tmp_path / "whole", tmp_path / "stopped")


def test_a_stop_does_not_make_a_best_checkpoint_of_an_epochs_middle(digits: MakeConfig, tmp_path: Path) -> None:
    stop_file = tmp_path / ".stop"
    request_stop(stop_file)
    with pytest.raises(StoppedError, match="after 0 epochs"):
        run_local(digits(), tmp_path, attempt=Attempt(stop_file))
    assert not last_checkpoint(tmp_path).parent.exists()


def test_nothing_begins_while_a_stop_is_asked_for(tmp_path: Path) -> None:
    require_no_stop(None)
    require_no_stop(tmp_path / ".stop")
    request_stop(tmp_path / ".stop")
    with pytest.raises(StoppedError, match="before it began"):
        require_no_stop(tmp_path / ".stop")
    clear_stop(tmp_path / ".stop")
    require_no_stop(tmp_path / ".stop")


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", "null", '{"epochs_done": -1}', "[" * 100_000, '{"epochs_done": 1e999}'],
    ids=["nothing", "list", "empty", "null", "negative", "deep", "infinite"],
)
def test_progress_that_is_none_is_refused(text: str) -> None:
    with pytest.raises((ValueError, RecursionError)):
        Progress.from_json(text)
