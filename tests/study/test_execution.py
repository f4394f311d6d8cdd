"""Trials get the resources they need, and no more of them start than fit with all their workers."""

import pytest

from study.config import AshaConfig
from study.execution import asha_scheduler, room_for
from trainers.config import TrialConfig
from trainers.errors import UserError


def config(**settings: object) -> TrialConfig:
    return TrialConfig("Digits", "MLP", "bop", **settings)


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


def test_early_stopping_counts_epochs_and_leaves_the_last_one_to_finish() -> None:
    scheduler = asha_scheduler(AshaConfig(grace_period=2, reduction_factor=3), epochs=9)
    assert scheduler._time_attr == "epoch"
    assert scheduler._stop_last_trials is False
