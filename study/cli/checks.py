"""What a study's runs need, checked before any of them starts: data prepared, models that fit them, room in memory."""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

from study.define.cells import StudyConfig
from study.define.offer import check_offers, refuse_unequal
from study.define.workload import refuse_unequal_workloads, unequal_settings
from study.record.terminal import Counter, say
from trainers.config import TrialConfig

if TYPE_CHECKING:
    from study.define.memory_plan import Need


def check_equal(study: StudyConfig, allow_unequal: bool) -> None:
    """Refuse a study whose methods are offered different budgets or workloads, unless that is wanted."""
    unequal = check_offers(study.cells, study.confirm)
    if not allow_unequal:
        refuse_unequal_workloads(unequal_settings(study.cells))
        refuse_unequal(unequal, "Give the methods of a workload the same settings in the study file")


def prepare_for(runs: Sequence[TrialConfig], *, download: bool = False, skip_damaged: bool = False) -> None:
    """The data sets of these runs at every image size that they use; of those that were not prepared yet, the classes.

    What was left out, changed or assumed is said when they are checked.
    """
    from trainers.data.prepare import prepare as prepare_dataset
    from trainers.data.report import class_lines
    from trainers.data.store import Manifest
    from trainers.preflight import check_alone

    for run in runs:
        check_alone(run)
    for run in {(run.dataset, run.image_size): run for run in reversed(runs)}.values():

        def written(manifest: Manifest, run: TrialConfig = run) -> None:
            say("\n".join([f"{manifest.dataset}:", *class_lines(manifest, run.val_fraction, run.train_per_class)]))

        prepare_dataset(
            run.dataset,
            run.data_root,
            prepared_root=run.prepared_root,
            image_size=run.image_size,
            download=download,
            skip_damaged=skip_damaged or any(other.skip_damaged for other in runs if other.dataset == run.dataset),
            progress=Counter(run.dataset),
            written=written,
        )


def check_study(study: StudyConfig) -> "tuple[StudyConfig, dict[str, Need]]":
    """The study with each cell's image size resolved, after its data, model, batch and memory were checked.

    With it the memory of one run of each cell, by the cell's name.
    """
    from study.define.memory_plan import needs_of_cells
    from study.drive.placement import check_room
    from trainers.preflight import preflight

    told: dict[str, None] = {}  # cells share data sets and pretrained files; each line is said once
    cells = tuple(
        dataclasses.replace(cell, base=preflight(cell.base, lambda line: told.update({line: None})))
        for cell in study.cells
    )
    for pretraining in dict.fromkeys(study.pretrainings.values()):
        preflight(pretraining, lambda line: told.update({f"to pretrain on: {line}": None}))
    for line in told:
        say(line)
    for cell in cells:
        if cell.searched_memory():
            for configuration in cell.demanding():
                preflight(configuration)
    needs = needs_of_cells(cells)
    for cell in cells:
        check_room(cell.base, needs[cell.name])
    return dataclasses.replace(study, cells=cells), needs
