"""What a study's runs need, checked before any of them starts: data prepared, models that fit them, room in memory."""

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING

from study.define.cells import StudyConfig
from study.record.terminal import Counter, say
from trainers.config import TrialConfig

if TYPE_CHECKING:
    from study.define.memory_plan import Need


def prepare_for(bases: Iterable[TrialConfig], download: bool) -> None:
    """Prepare the data sets of these runs, each at every image size that they use."""
    from trainers.data.prepare import prepare as prepare_dataset

    for base in {(base.dataset, base.image_size): base for base in bases}.values():
        prepare_dataset(
            base.dataset,
            base.data_root,
            prepared_root=base.prepared_root,
            image_size=base.image_size,
            download=download,
            progress=Counter(base.dataset),
        )


def check_study(study: StudyConfig) -> "tuple[StudyConfig, dict[str, Need]]":
    """The study with each cell's image size resolved, after its data, model, batch and memory were checked.

    With it the memory of one run of each cell, by the cell's name.
    """
    from study.define.memory_plan import needs_of_cells
    from study.drive.tune_run import check_room
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
