"""A trial's process may die and be started again, but not for ever without getting anywhere."""

from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial
from ray.tune.schedulers import TrialScheduler

from study.drive.tune_scheduler import PatientScheduler, QueueScheduler


def trial(name: str = "a", failures: int = 0, status: str = Trial.RUNNING) -> Any:
    """As much of a Ray Tune trial as a scheduler reads."""
    return SimpleNamespace(
        trial_id=name,
        status=status,
        run_metadata=SimpleNamespace(num_failures=failures),
        config={"spec": {"trial_id": name}},
    )


def test_a_new_epoch_is_a_new_start() -> None:
    dying = trial(failures=2)
    PatientScheduler().on_trial_result(None, dying, {"epoch": 4})
    assert dying.run_metadata.num_failures == 0


def test_an_epoch_told_or_trained_again_is_none() -> None:
    scheduler, dying = PatientScheduler(), trial()
    scheduler.on_trial_result(None, dying, {"epoch": 4})
    dying.run_metadata.num_failures = 2
    scheduler.on_trial_result(None, dying, {"epoch": 3})
    scheduler.on_trial_result(None, dying, {"epoch": 5, "replayed": True})
    assert dying.run_metadata.num_failures == 2


def test_trials_run_in_order_and_only_those_that_wait() -> None:
    live = [trial("c", status=Trial.PENDING), trial("a"), trial("b", status=Trial.PENDING)]
    controller: Any = SimpleNamespace(get_live_trials=lambda: live)
    chosen = PatientScheduler().choose_trial_to_run(controller)
    assert chosen is not None and chosen.trial_id == "b"
    controller = SimpleNamespace(get_live_trials=list)
    assert PatientScheduler().choose_trial_to_run(controller) is None


def test_the_queue_says_what_stops() -> None:
    queue: Any = SimpleNamespace(report=lambda name, result: result["epoch"] == 2)
    scheduler = QueueScheduler(queue)
    assert scheduler.on_trial_result(None, trial(), {"epoch": 1}) == TrialScheduler.CONTINUE
    assert scheduler.on_trial_result(None, trial(), {"epoch": 2}) == TrialScheduler.STOP
