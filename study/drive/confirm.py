"""Confirmation: the best configurations of a search, trained again on fresh seeds, to their ends, and tested once each.

The search's own value of its best trial is the largest of many draws, so it flatters; these runs are what is reported.
The cells of a study are confirmed together, so that runs of several cells fill the machine side by side.
"""

import json
from collections.abc import Mapping, Sequence

from study.define.cells import Cell, ConfirmConfig
from study.define.memory_plan import Need, largest_need
from study.define.trial_spec import TrialSpec, trial_spec
from study.define.workload import expected_data
from study.drive.recorder import Place, TuneRecorder
from study.drive.sweep import open_sweep
from study.drive.tune_run import run_listed
from study.drive.tune_state import call_folder, write_missing
from study.record.folder import StudyFolder
from study.record.study_log import StudyLog
from study.record.terminal import Progress, say
from study.search.journal_search import best_trials, open_journal, open_search, search_trial_id
from trainers.config import TrialConfig


def confirm_trial_id(cell: Cell, number: int, seed: int) -> str:
    """Names the confirmation of search trial `number` with `seed`.

    The search trial's number stands in the name, not its rank, because a search that is extended may change the ranks.
    """
    return f"{cell.name}-confirm-{number:04d}-s{seed}"


def planned(cell: Cell, settings: ConfirmConfig, folder: StudyFolder) -> list[tuple[TrialSpec, dict[str, str]]]:
    """Every confirmation run that the cell is to have, the best configuration's first, with its further tags.

    Fewer than `k` configurations where fewer search trials completed; none where none did.
    """
    study = open_search(cell, open_journal(folder.journal))
    runs = []
    for rank, trial in enumerate(best_trials(study, settings.k), start=1):
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
            )
            tags = {"confirms": search_trial_id(cell, trial.number), "rank": str(rank), **cell.repeat_tag}
            runs.append((spec, tags))
    return runs


def confirm(
    cells: Sequence[Cell],
    settings: ConfirmConfig,
    folder: StudyFolder,
    log: StudyLog,
    needs: Mapping[str, Need],
    reopen_test: bool = False,
) -> dict[str, str]:
    """Run the confirmations that are not recorded yet; all of their outcomes by trial id. Ray must be connected.

    Args:
        cells: searched cells of one study, which therefore take the same workers and threads.
        settings: how many configurations, and which seeds.
        folder: the study's folder.
        log: the study's log.
        needs: the memory of one run of each cell, by the cell's name; the largest counts for all.
        reopen_test: a run whose folder is gone may open a test set again that the log says it opened.
    """
    done, records = confirmed(log), log.trials()
    write_missing(folder.tune, done, {trial_id: records[trial_id].attempts for trial_id in done})
    outcomes: dict[str, str] = {}
    waiting: list[TrialSpec] = []
    places: dict[str, Place] = {}
    opened = []
    for cell in cells:
        wanted = planned(cell, settings, folder)
        missing = [(spec, tags) for spec, tags in wanted if spec["trial_id"] not in done]
        outcomes |= {spec["trial_id"]: done[spec["trial_id"]] for spec, _ in wanted if spec["trial_id"] in done}
        if not missing:
            reason = f"all {len(wanted)} confirmation runs are there already" if wanted else "no search trial completed"
            say(f"[{cell.name}] nothing to confirm: {reason}")
            continue
        open_sweep(cell, folder, log, open_search(cell, open_journal(folder.journal)))
        opened.append(cell.name)
        progress = Progress(f"{cell.name} confirm", len(wanted), ended=len(wanted) - len(missing), keep_best=False)
        for spec, tags in missing:
            record = records.get(spec["trial_id"])
            spec["test_openings"], spec["reopen_test"] = record.test_opened if record else 0, reopen_test
            waiting.append(spec)
            places[spec["trial_id"]] = Place(progress, cell.name, tags)
    if waiting:
        recorder = TuneRecorder(log, places)
        need, base = largest_need([needs[cell.name] for cell in cells]), cells[0].base
        together = [spec for spec in waiting if not out_of_memory(log, spec)]
        if together:
            run_listed(together, base, recorder, call_folder(folder.tune, "confirm"), need, cells[0].at_once)
        alone = [TrialSpec(**{**spec, "alone": True}) for spec in waiting if out_of_memory(log, spec)]
        if alone and not folder.stop_file.exists():
            say(f"{len(alone)} confirmation runs ran out of memory; each is tried once more, alone")
            run_listed(alone, base, recorder, call_folder(folder.tune, "confirm-alone"), need, at_once=1)
        outcomes |= recorder.outcomes
    for name in opened:
        log.append("sweep_end", cell=name, tags={})
    return outcomes


def out_of_memory(log: StudyLog, spec: TrialSpec) -> bool:
    """Whether a run is not over because memory did not hold it beside others, so that it is to be tried alone."""
    record = log.trials().get(spec["trial_id"])
    return record is not None and not record.ended and record.out_of_memory > 0


def confirmed(log: StudyLog) -> dict[str, str]:
    """The confirmation runs that ended for good, and how; a failed one did not, so it is tried again."""
    final = ("completed", "diverged", "infeasible")
    runs = log.trials().items()
    return {name: run.outcome for name, run in runs if run.phase == "confirm" and run.outcome in final}
