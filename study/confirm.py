"""Confirmation: the best configurations of a search, trained again on fresh seeds, to their ends, and tested once each.

The search's own value of its best trial is the largest of many draws, so it flatters; these runs are what is reported.
"""

import json

from study.config import Cell, ConfirmConfig
from study.execution import run_listed
from study.folder import StudyFolder
from study.progress import Progress, say
from study.recording import TuneRecorder
from study.search import best_trials, open_journal, open_search, search_trial_id
from study.sweep import sweep_run
from study.tracking import Tracker
from study.trial import TrialSpec, trial_spec
from trainers.config import TrialConfig


def confirm_trial_id(cell: Cell, number: int, seed: int) -> str:
    """Names the confirmation of search trial `number` with `seed`.

    The search trial's number stands in the name, not its rank, because a search that is extended may change the ranks.
    """
    return f"{cell.name}-confirm-{number:04d}-s{seed}"


def planned(cell: Cell, confirm: ConfirmConfig, folder: StudyFolder) -> list[tuple[TrialSpec, dict[str, str]]]:
    """Every confirmation run that the cell is to have, the best configuration's first, with its further tags.

    Fewer than `k` configurations where fewer search trials completed; none where none did.
    """
    study = open_search(cell, open_journal(folder.journal))
    runs = []
    for rank, trial in enumerate(best_trials(study, confirm.k), start=1):
        config = TrialConfig.from_dict(json.loads(trial.user_attrs["config"]))
        for seed in confirm.seeds:
            trial_id = confirm_trial_id(cell, trial.number, seed)
            chosen = config.replace(
                seed=seed,
                test=True,
                data_root=cell.base.data_root,
                prepared_root=cell.base.prepared_root,
                device=cell.base.device,
            )
            spec = trial_spec(trial_id, "confirm", cell.method, chosen, folder.run_dir(trial_id))
            runs.append((spec, {"confirms": search_trial_id(cell, trial.number), "rank": str(rank)}))
    return runs


def confirm(cell: Cell, settings: ConfirmConfig, folder: StudyFolder, tracker: Tracker) -> dict[str, str]:
    """Run the confirmations that are not recorded yet; their outcomes by trial id. Ray must be connected.

    Raises:
        UserError: a run does not fit on the machine.
    """
    wanted = planned(cell, settings, folder)
    if not wanted:
        say(f"[{cell.name}] nothing to confirm: no search trial completed, or k is 0")
        return {}
    run_id = sweep_run(cell, tracker)
    done = confirmed(tracker, [spec["trial_id"] for spec, _ in wanted])
    todo = [(spec, tags) for spec, tags in wanted if spec["trial_id"] not in done]
    if not todo:
        say(f"[{cell.name}] all {len(wanted)} confirmation runs are there already; nothing to run")
    else:
        progress = Progress(f"{cell.name} confirm", len(wanted), ended=len(done))
        recorder = TuneRecorder(tracker, run_id, progress, {spec["trial_id"]: tags for spec, tags in todo})
        state = folder.tune / cell.name / f"confirm-{len(done):04d}-{todo[0][0]['trial_id'].rsplit('-confirm-')[-1]}"
        run_listed([spec for spec, _ in todo], cell.base, recorder, state)
        done = {**done, **recorder.outcomes}
    tracker.finish(run_id, "completed")
    return done


def confirmed(tracker: Tracker, trial_ids: list[str]) -> dict[str, str]:
    """Of these trials, those whose runs are recorded as ended for good, with how; a failed one is tried again."""
    runs = tracker.client.search_runs(
        [tracker.experiment_id], "tags.run_kind = 'trial' and tags.phase = 'confirm'", max_results=50_000
    )
    status = {run.data.tags["trial_id"]: run.data.tags["status"] for run in runs}
    return {name: status[name] for name in trial_ids if status.get(name) in ("completed", "diverged")}
