"""Which trials of a search are its best: by validation accuracy, or, with memory as an objective too, the Pareto front.

Of two trials a *dominates* b where it is no worse in any objective and better in one. The front is what nothing
dominates; the second front what only the first dominates, and so on (non-dominated sorting, Deb et al., 2002).
"""

from collections.abc import Sequence

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState


def best_trials(study: optuna.Study, k: int) -> list[FrozenTrial]:
    """The `k` best completed trials by their values after the last epoch, the best first.

    Front by front, and within one the highest validation accuracy first; of equal ones the earlier. With one objective
    a front is the trials of one accuracy. A pruned trial is never among them, however well it stood when it was
    stopped, nor one that the device has no memory for.
    """
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(study.directions) == 1:
        return sorted(completed, key=lambda trial: (-accuracy(trial), trial.number))[:k]
    best: list[FrozenTrial] = []
    while completed and len(best) < k:
        front = _front(completed, study.directions)
        best += sorted(front, key=lambda trial: (-accuracy(trial), trial.number))
        taken = {trial.number for trial in front}
        completed = [trial for trial in completed if trial.number not in taken]
    return best[:k]


def pareto_front(study: optuna.Study) -> list[FrozenTrial]:
    """The completed trials that no other dominates, by number."""
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return sorted(_front(completed, study.directions), key=lambda trial: trial.number)


def accuracy(trial: FrozenTrial) -> float:
    """A completed trial's validation accuracy, which is the first objective of every search."""
    return trial.values[0]


def _front(trials: Sequence[FrozenTrial], directions: Sequence[StudyDirection]) -> list[FrozenTrial]:
    signs = [1 if direction == StudyDirection.MINIMIZE else -1 for direction in directions]
    losses = {trial.number: [s * v for s, v in zip(signs, trial.values, strict=True)] for trial in trials}

    def dominates(a: list[float], b: list[float]) -> bool:
        return a != b and all(x <= y for x, y in zip(a, b, strict=True))

    return [trial for trial in trials if not any(dominates(other, losses[trial.number]) for other in losses.values())]
