"""The best of a search with two objectives are its Pareto front, and the most accurate of that first."""

import optuna
from optuna.trial import TrialState, create_trial

from study.search.front import accuracy, best_trials, pareto_front


def study_of(*values: tuple[float, ...] | None, several: bool = True) -> optuna.Study:
    """A search whose trials ended with these values; None for one that is infeasible."""
    directions = ["maximize", "minimize"] if several else ["maximize"]
    study = optuna.create_study(directions=directions)
    for value in values:
        state = TrialState.PRUNED if value is None else TrialState.COMPLETE
        study.add_trial(create_trial(state=state, values=None if value is None else list(value)))
    return study


def numbers(trials: list[optuna.trial.FrozenTrial]) -> list[int]:
    return [trial.number for trial in trials]


def test_the_front_is_what_nothing_is_better_than_in_all_and_it_is_optuna_s() -> None:
    study = study_of((0.9, 300), (0.8, 100), (0.7, 200), None, (0.95, 900), (0.9, 400), (0.8, 100))
    assert numbers(pareto_front(study)) == [0, 1, 4, 6], "of equal ones each"
    assert numbers(pareto_front(study)) == sorted(numbers(study.best_trials))


def test_the_best_come_front_by_front_and_within_one_by_accuracy() -> None:
    study = study_of((0.9, 300), (0.8, 100), (0.7, 200), (0.95, 900), (0.9, 400), (0.6, 500))
    assert numbers(best_trials(study, 10)) == [3, 0, 1, 4, 2, 5]
    assert numbers(best_trials(study, 2)) == [3, 0]
    assert accuracy(best_trials(study, 1)[0]) == 0.95


def test_with_one_objective_the_best_are_by_it_and_the_earlier_of_equals() -> None:
    study = study_of((0.5,), (0.7,), None, (0.7,), several=False)
    assert numbers(best_trials(study, 3)) == [1, 3, 0]
    assert best_trials(study_of(None), 3) == []
