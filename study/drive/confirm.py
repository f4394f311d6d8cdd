"""Confirmation: the best configurations of a search, trained again on fresh seeds, to their ends, and tested once each.

The search's own value of its best trial is the largest of many draws, so it flatters; these runs are what is reported.
A cell's confirmation begins when its own search is over, whatever the others are at.
"""

import json
from collections.abc import Generator, MutableMapping

import optuna
from optuna.storages import JournalStorage

from study.define.cells import Cell, ConfirmConfig
from study.define.trial_spec import TrialSpec, trial_spec
from study.define.workload import expected_data
from study.drive.queue import Listed, Stage
from study.drive.recorder import Place
from study.drive.sweep import open_sweep
from study.drive.tune_state import write_missing
from study.record.folder import StudyFolder
from study.record.study_log import StudyLog
from study.record.terminal import Progress, say
from study.search.front import best_trials
from study.search.journal_search import open_search, search_trial_id
from trainers.config import TrialConfig


def confirm_trial_id(cell: Cell, number: int, seed: int) -> str:
    """Names the confirmation of search trial `number` with `seed`.

    The search trial's number stands in the name, not its rank, because a search that is extended may change the ranks.
    """
    return f"{cell.name}-confirm-{number:04d}-s{seed}"


def planned(
    cell: Cell, settings: ConfirmConfig, folder: StudyFolder, search: optuna.Study
) -> list[tuple[TrialSpec, dict[str, str]]]:
    """Every confirmation run that the cell is to have, the best configuration's first, with its further tags.

    Fewer than `k` configurations where fewer search trials completed; none where none did.
    """
    runs = []
    for rank, trial in enumerate(best_trials(search, settings.k), start=1):
        config = TrialConfig.recorded(json.loads(trial.user_attrs["config"]))
        for seed in settings.seeds:
            trial_id = confirm_trial_id(cell, trial.number, seed)
            chosen = config.replace(
                seed=seed,
                test=True,
                data_root=cell.base.data_root,
                prepared_root=cell.base.prepared_root,
                pretrained=cell.base.pretrained,
                device=cell.base.device,
                check=cell.base.check,
            )
            run_dir = folder.run_dir(trial_id)
            spec = trial_spec(
                trial_id,
                "confirm",
                cell.method,
                chosen,
                run_dir,
                folder.simulation,
                stop_file=folder.stop_file,
                expected_data=expected_data(folder.workload(cell.name)),
                place=folder.place(trial_id),
            )
            tags = {"confirms": search_trial_id(cell, trial.number), "rank": str(rank), **cell.repeat_tag}
            runs.append((spec, tags))
    return runs


def confirm(
    cell: Cell,
    settings: ConfirmConfig,
    folder: StudyFolder,
    log: StudyLog,
    storage: JournalStorage,
    places: MutableMapping[str, Place],
    reopen_test: bool = False,
) -> Generator[Stage, None, dict[str, str]]:
    """Run the confirmations of a searched cell that are not recorded yet; all of their outcomes by trial id.

    Args:
        cell: whose search is over.
        settings: how many configurations, and which seeds.
        folder: the study's folder.
        log: the study's log.
        storage: the study's journal.
        places: takes where each run belongs, by its trial id.
        reopen_test: a run whose folder is gone may open a test set again that the log says it opened.

    Yields:
        The confirmation's stages, as `study.drive.sweep.search` does.
    """
    done, records, search = confirmed(log, cell), log.trials(), open_search(cell, storage)
    write_missing(folder.tune, done, {trial_id: records[trial_id].attempts for trial_id in done})
    wanted = planned(cell, settings, folder, search)
    missing = [(spec, tags) for spec, tags in wanted if spec["trial_id"] not in done]
    if not missing:
        reason = f"all {len(wanted)} confirmation runs are there already" if wanted else "no search trial completed"
        say(f"[{cell.name}] nothing to confirm: {reason}")
    else:
        open_sweep(cell, folder, log, search)
        progress = Progress(f"{cell.name} confirm", len(wanted), ended=len(wanted) - len(missing), keep_best=False)
        for spec, tags in missing:
            record = records.get(spec["trial_id"])
            spec["test_openings"], spec["reopen_test"] = record.test_opened if record else 0, reopen_test
            places[spec["trial_id"]] = Place(progress, cell.name, tags)
        specs = [spec for spec, _ in missing]
        if together := [spec for spec in specs if not out_of_memory(log, spec)]:
            yield Listed(together)
        if alone := [TrialSpec(**{**spec, "alone": True}) for spec in specs if out_of_memory(log, spec)]:
            say(f"[{cell.name}] {len(alone)} confirmation runs ran out of memory; each is tried once more, alone")
            yield Listed(alone, alone=True)
        log.append("sweep_end", cell=cell.name, tags={})
    return {spec["trial_id"]: log.trials()[spec["trial_id"]].outcome for spec, _ in wanted}


def out_of_memory(log: StudyLog, spec: TrialSpec) -> bool:
    """Whether a run is not over because memory did not hold it beside others, so that it is to be tried alone."""
    record = log.trials().get(spec["trial_id"])
    return record is not None and not record.ended and record.out_of_memory > 0


def confirmed(log: StudyLog, cell: Cell) -> dict[str, str]:
    """The cell's confirmation runs that ended for good, and how; a failed one did not, so it is tried again."""
    final = ("completed", "diverged", "infeasible")
    own = {name: run for name, run in log.trials().items() if run.cell == cell.name and run.phase == "confirm"}
    return {name: run.outcome for name, run in own.items() if run.outcome in final}
