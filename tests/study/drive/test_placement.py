"""Trials get the resources they need, and no more of them start than fit, node by node, with all their workers."""

from typing import Any

import pytest

from study.define.memory_plan import CONTEXT_BYTES, GIB, MIB, PROCESS_BYTES, Need
from study.drive import placement
from study.drive.placement import Host, Room, rooms_of
from trainers.config import TrialConfig
from trainers.errors import UserError
from trainers.memory.report import CATEGORIES, MemoryReport


def config(**settings: Any) -> TrialConfig:
    return TrialConfig("Digits", "MLP", "bop", **settings)


def need(peak: int = MIB, workers: int = 1) -> Need:
    return Need("a run", MemoryReport(**{**dict.fromkeys(CATEGORIES, 0), "workspace": peak}), workers)


def room_for(config: TrialConfig, *hosts: Host, peak: int = MIB) -> Room:
    """`study.drive.placement.room_for` for a run whose step takes `peak` bytes."""
    return placement.room_for(config, hosts, need(peak, config.workers))


def one(cpus: float, gpus: float = 0.0, **more: int) -> Host:
    return Host(placement.HERE, cpus, gpus, **more)


def test_one_worker_trials_reserve_their_threads() -> None:
    assert room_for(config(threads=2), one(8)) == Room({"cpu": 2}, 4)


def test_one_worker_trials_take_a_gpu_each_where_there_are_some() -> None:
    assert room_for(config(), one(8, 2)) == Room({"cpu": 1, "gpu": 1}, 2)
    assert room_for(config(device="cpu"), one(8, 2)) == Room({"cpu": 1}, 8)


def test_a_driver_of_workers_takes_no_cpu_and_trials_are_counted_by_their_workers() -> None:
    room = room_for(config(workers=2, threads=2), one(9))
    assert room.resources["cpu"] == 0
    assert room.at_once == 2


def test_workers_on_gpus_are_counted_by_gpus() -> None:
    assert room_for(config(workers=2), one(64, 5)).at_once == 2


@pytest.mark.parametrize("wanted", [{"workers": 3}, {"threads": 3}, {"workers": 2, "threads": 2}, {"device": "cuda"}])
def test_a_trial_that_never_fits_is_refused_instead_of_waited_for(wanted: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=r"a run: one run takes .*but there are 2 CPUs and 0 GPUs"):
        room_for(config(**wanted), one(2))


def test_room_is_counted_node_by_node_and_not_by_the_sum() -> None:
    nodes = [Host("a", 3), Host("b", 3)]
    assert room_for(config(threads=2), *nodes).at_once == 2
    assert room_for(config(workers=2, threads=2), *nodes).at_once == 1, "a worker on each"


def test_what_no_single_node_holds_is_refused_by_name_with_every_node() -> None:
    nodes = [Host("a at 10.0.0.1", 3), Host("b at 10.0.0.2", 3, 1)]
    with pytest.raises(UserError) as refused:
        room_for(config(threads=4, device="cpu"), *nodes)
    assert str(refused.value) == (
        "a run: one run takes 4 CPUs (1 workers x 4 threads), and no single node has them: a at 10.0.0.1 (3 CPUs and 0 "
        "GPUs), b at 10.0.0.2 (3 CPUs and 1 GPUs); lower workers or threads"
    )
    with pytest.raises(UserError, match=r"whole places for 2 workers: a at 10\.0\.0\.1"):
        room_for(config(workers=3, threads=2, device="cpu"), *nodes)


def test_a_node_without_gpus_takes_no_trial_that_computes_on_one() -> None:
    assert room_for(config(), Host("head", 8), Host("worker", 8, 2)) == Room({"cpu": 1, "gpu": 1}, 2)


@pytest.mark.parametrize(
    ("most", "expected"),
    [(None, []), ({"CPU": 2, "GPU": 0}, []), ({"CPU": 34, "GPU": 4}, [Host(placement.TO_COME, 32.0, 4.0)])],
    ids=["no autoscaler", "nothing to come", "workers to come"],
)
def test_nodes_that_come_when_trials_wait_count(
    most: dict[str, int] | None, expected: list[Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ray._private.state import GlobalState

    monkeypatch.setattr(GlobalState, "get_max_resources_from_cluster_config", lambda self: most)
    head = Host("head", 2.0, memory=8 * GIB)
    assert placement.to_come([head]) == expected
    if expected:
        assert room_for(config(), head, *expected).at_once == 4


def test_no_more_trials_run_than_the_memory_holds_and_each_reserves_its_own() -> None:
    machine = one(8, memory=int(3.5 * GIB))
    room = room_for(config(), machine, peak=GIB)
    assert room == Room({"cpu": 1, "memory": GIB + PROCESS_BYTES}, 2)
    assert room_for(config(workers=2), machine, peak=GIB).at_once == 1
    nodes = [Host("a", 8, memory=2 * GIB), Host("b", 8, memory=2 * GIB)]
    assert room_for(config(), *nodes, peak=GIB).at_once == 2, "what is left over on two nodes holds no third"


def test_trials_share_a_gpu_as_far_as_its_memory_goes() -> None:
    gpus = one(16, 2, gpu_memory=10 * GIB)
    peak = 2 * GIB
    share = 1.25 * peak + CONTEXT_BYTES
    assert 3 < 10 * GIB / share < 4
    assert room_for(config(), gpus, peak=peak) == Room({"cpu": 1, "gpu": 0.3333}, 6)
    assert room_for(config(workers=2), gpus, peak=peak).at_once == 1, "workers of Ray Train take a GPU each"
    assert room_for(config(device="cpu"), gpus, peak=peak).resources == {"cpu": 1}


def test_a_run_larger_than_the_memory_is_refused_with_what_is_lacking() -> None:
    with pytest.raises(UserError, match=r"a run: .* 1\.39 GiB more than the 2\.00 GiB of the machine; lower"):
        room_for(config(), one(8, memory=2 * GIB), peak=3 * GIB)
    with pytest.raises(UserError, match=r"600\.0 MiB more than the 2\.50 GiB of one GPU"):
        room_for(config(), one(1, 1, gpu_memory=int(2.5 * GIB)), peak=2 * GIB)
    nodes = [Host("a", 8, memory=3 * GIB), Host("b", 8, memory=2 * GIB)]
    with pytest.raises(UserError, match=r"400\.0 MiB more than the 3\.00 GiB of node a, the largest by memory"):
        room_for(config(), *nodes, peak=3 * GIB)
    with pytest.raises(UserError, match=r"each worker's on one node, and no nodes hold them all: a \(8 CPUs"):
        room_for(config(workers=2), Host("a", 8, memory=4 * GIB), Host("b", 8, memory=2 * GIB), peak=2 * GIB)


def test_cells_reserve_alike_where_memory_keeps_no_trial_out_and_their_own_where_it_does() -> None:
    """Alike, so that a process goes from one cell's trial to another's."""
    both = [need(MIB), need(GIB)]
    alike = rooms_of([config(), config()], [one(2, memory=8 * GIB)], both)
    assert alike == [Room({"cpu": 1, "memory": GIB + PROCESS_BYTES}, 2)] * 2
    apart = rooms_of([config(), config()], [one(8, memory=8 * GIB)], both)
    assert [room.at_once for room in apart] == [8, 5]
    assert apart[0].resources == {"cpu": 1, "memory": MIB + PROCESS_BYTES}
