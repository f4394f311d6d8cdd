"""Trials get the resources they need, and no more of them start than fit with all their workers."""

import pytest

from study.define.memory_plan import CONTEXT_BYTES, GIB, MIB, PROCESS_BYTES, Need
from study.drive import tune_run as execution
from study.drive.tune_run import GPU_MEMORY, NODE_MEMORY
from trainers.config import TrialConfig
from trainers.errors import UserError
from trainers.memory.report import CATEGORIES, MemoryReport


def config(**settings: object) -> TrialConfig:
    return TrialConfig("Digits", "MLP", "bop", **settings)


def room_for(config: TrialConfig, cluster: dict[str, float], peak: int = MIB) -> tuple[dict[str, float], int]:
    """`study.drive.tune_run.room_for` for a run whose step takes `peak` bytes."""
    return execution.room_for(config, cluster, Need("a run", report(peak), config.workers))


def report(peak: int) -> MemoryReport:
    return MemoryReport(**{**dict.fromkeys(CATEGORIES, 0), "workspace": peak})


def test_one_worker_trials_reserve_their_threads() -> None:
    assert room_for(config(threads=2), {"CPU": 8.0}) == ({"cpu": 2}, 4)


def test_one_worker_trials_take_a_gpu_each_where_there_are_some() -> None:
    assert room_for(config(), {"CPU": 8.0, "GPU": 2.0}) == ({"cpu": 1, "gpu": 1}, 2)
    assert room_for(config(device="cpu"), {"CPU": 8.0, "GPU": 2.0}) == ({"cpu": 1}, 8)


def test_a_driver_of_workers_takes_no_cpu_and_trials_are_counted_by_their_workers() -> None:
    reserved, at_once = room_for(config(workers=2, threads=2), {"CPU": 9.0})
    assert reserved["cpu"] == 0
    assert at_once == 2


def test_workers_on_gpus_are_counted_by_gpus() -> None:
    assert room_for(config(workers=2), {"CPU": 64.0, "GPU": 5.0})[1] == 2


@pytest.mark.parametrize("wanted", [{"workers": 3}, {"threads": 3}, {"workers": 2, "threads": 2}, {"device": "cuda"}])
def test_a_trial_that_never_fits_is_refused_instead_of_waited_for(wanted: dict) -> None:
    with pytest.raises(UserError, match="but there are 2 CPUs and 0 GPUs"):
        room_for(config(**wanted), {"CPU": 2.0})


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (None, {"CPU": 2.0, "memory": 8.0}),
        ({"CPU": 2, "GPU": 0}, {"CPU": 2.0, "memory": 8.0}),
        ({"CPU": 34, "GPU": 4}, {"CPU": 34.0, "GPU": 4.0}),
    ],
    ids=["no autoscaler", "nothing to come", "workers to come"],
)
def test_nodes_that_come_when_trials_wait_count(
    most: dict[str, int] | None, expected: dict[str, float], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray._private.state import GlobalState

    monkeypatch.setattr(GlobalState, "get_max_resources_from_cluster_config", lambda self: most)
    assert execution.grown({"CPU": 2.0, "memory": 8.0}) == expected


def test_no_more_trials_run_than_the_memory_holds_and_each_reserves_its_own() -> None:
    cluster = {"CPU": 8.0, "memory": 3.5 * GIB, NODE_MEMORY: 3.5 * GIB}
    reserved, at_once = room_for(config(), cluster, peak=GIB)
    assert reserved == {"cpu": 1, "memory": GIB + PROCESS_BYTES}
    assert at_once == 2
    assert room_for(config(workers=2), cluster, peak=GIB)[1] == 1


def test_trials_share_a_gpu_as_far_as_its_memory_goes() -> None:
    gpus = {"CPU": 16.0, "GPU": 2.0, GPU_MEMORY: 10 * GIB}
    peak = 2 * GIB
    share = 1.25 * peak + CONTEXT_BYTES
    assert 3 < 10 * GIB / share < 4
    assert room_for(config(), gpus, peak) == ({"cpu": 1, "gpu": 0.3333}, 6)
    assert room_for(config(workers=2), gpus, peak)[1] == 1, "workers of Ray Train take a GPU each"
    assert room_for(config(device="cpu"), gpus, peak)[0] == {"cpu": 1}


def test_a_run_larger_than_the_memory_is_refused_with_what_is_lacking() -> None:
    nodes = {"CPU": 8.0, "memory": 6 * GIB, NODE_MEMORY: 2 * GIB}
    with pytest.raises(UserError, match=r"a run: .* 1\.39 GiB more than the 2\.00 GiB of the machine; lower"):
        room_for(config(), nodes, peak=3 * GIB)
    with pytest.raises(UserError, match=r"600\.0 MiB more than the 2\.50 GiB of one GPU"):
        room_for(config(), {"CPU": 1.0, "GPU": 1.0, GPU_MEMORY: 2.5 * GIB}, peak=2 * GIB)
