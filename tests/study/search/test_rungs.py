"""Rungs stand in the journal: early stopping is Optuna's successive halving, whatever was restarted or extended."""

from pathlib import Path
from typing import Any

import optuna
import pytest

from study.define.settings import AshaConfig
from study.search.rungs import RUNG, Rungs

ASHA = AshaConfig(grace_period=2, reduction_factor=3)
EPOCHS = 9


def new_study() -> optuna.Study:
    return optuna.create_study(direction="maximize", sampler=optuna.samplers.RandomSampler(seed=0))


def course(study: optuna.Study, values: list[float], rungs: Rungs | None = None) -> int | None:
    """The epoch at which a trial with these values stops; None where it comes to its end."""
    trial = study.ask()
    for epoch, value in enumerate(values, start=1):
        trial.report(value, epoch)
        if (rungs or Rungs(ASHA, EPOCHS)).stops(study, trial, epoch):
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
            return epoch
    study.tell(trial, values[-1])
    return None


def test_trials_stop_at_rungs_alone_and_never_at_the_last_epoch() -> None:
    study = new_study()
    assert course(study, [0.9] * EPOCHS) is None
    assert course(study, [0.1] * EPOCHS) == 2
    assert course(study, [0.95] * 5 + [0.2] * 4) == 6
    last_is_a_rung = Rungs(ASHA, epochs=6)
    assert course(study, [0.96] * 5 + [0.1], last_is_a_rung) is None


def test_decisions_are_those_of_optuna_s_own_loop() -> None:
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=3)
    own = optuna.create_study(direction="maximize", pruner=pruner)
    ours = new_study()
    generator = __import__("random").Random(3)
    for _ in range(40):
        values = sorted(generator.random() for _ in range(EPOCHS))
        trial, stopped = own.ask(), None
        for epoch, value in enumerate(values, start=1):
            trial.report(value, epoch)
            if epoch < EPOCHS and trial.should_prune():
                stopped = epoch
                break
        own.tell(trial, values[-1])
        assert course(ours, values) == stopped


def test_the_rung_and_all_values_stay_with_a_pruned_trial() -> None:
    study = new_study()
    course(study, [0.9] * EPOCHS)
    course(study, [0.3, 0.1, 0.1])
    pruned = study.trials[1]
    assert pruned.state == optuna.trial.TrialState.PRUNED
    assert pruned.user_attrs[RUNG] == 2
    assert pruned.intermediate_values == {1: 0.3, 2: 0.1}


@pytest.mark.parametrize("values", [[0.9, 0.9], [0.1, 0.1]])
def test_asking_again_changes_no_decision(values: list[float]) -> None:
    """As a trial does that goes on from its checkpoint, when others have come past since."""
    study = new_study()
    for value in (0.5, 0.6, 0.4):
        course(study, [value] * EPOCHS)
    trial = study.ask()
    for epoch, value in enumerate(values, start=1):
        trial.report(value, epoch)
    decided = Rungs(ASHA, EPOCHS).stops(study, trial, 2)
    assert decided == (values == [0.1, 0.1])
    for value in (0.99, 0.05, 0.98):
        course(study, [value] * EPOCHS)
    before = study.trials[trial.number].system_attrs
    assert Rungs(ASHA, EPOCHS).stops(study, optuna.Trial(study, trial._trial_id), 2) == decided
    assert study.trials[trial.number].system_attrs == before


def test_a_decision_that_was_cut_short_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = new_study()
    course(study, [0.9] * EPOCHS)
    trial = study.ask()
    for epoch in (1, 2):
        trial.report(0.1, epoch)

    def killed(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(study._storage, "set_trial_system_attr", killed)
        with pytest.raises(KeyboardInterrupt):
            Rungs(ASHA, EPOCHS).stops(study, trial, 2)
    assert Rungs(ASHA, EPOCHS).stops(study, optuna.Trial(study, trial._trial_id), 2)
    assert study.trials[trial.number].system_attrs["completed_rung_0"] == 0.1
