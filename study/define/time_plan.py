"""What a study would cost in time, before any of it starts: device-hours by cell, from steps timed on this machine.

    seconds of a run = epochs · (steps · seconds of a step + validation images · seconds of an evaluated image)

times the search's trials (each to its last epoch: early stopping takes less) and, with the test images, the
confirmations. One step of random images is timed by two smaller batches (`trainers.timing`), so a network that no step
of this machine could hold is planned too; cells that differ in their data alone are timed once. Other devices are
faster or slower; the ratios between cells hold better.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from study.define.cells import Cell, StudyConfig
from study.define.memory_plan import input_shape, machine_memory, most_classes, need_of
from trainers.config import TrialConfig
from trainers.data.catalog import lookup
from trainers.data.prepare import TEST_FRACTION
from trainers.errors import UserError
from trainers.run_data import data_of, prepared_folder, split_of
from trainers.timing import Paces

TIMED_BATCHES = (4, 12)
"""Images of the batches that are timed: enough for the line through both, few enough for a small machine."""


class Images(NamedTuple):
    """How many images a run trains on, validates on and is tested on."""

    train: int
    validation: int
    test: int


@dataclass(frozen=True)
class Hours:
    """Device-hours of one cell.

    Attributes:
        step: seconds of one training step.
        run: hours of one run, without the test set.
        total: of all its trials and confirmations.
    """

    step: float
    run: float
    total: float


def time_plan(study: StudyConfig) -> Iterator[str]:
    """The plan's lines: one a cell, as soon as it is timed, and the sum."""
    width = max(len(cell.name) for cell in study.cells)
    yield ""
    yield "device-hours, by steps timed on this machine; early stopping takes less"
    yield f"{'cell':<{width}} {'train':>7} {'step, s':>8} {'a run, h':>9} {'runs':>5} {'all, h':>9}"
    total, places, classes = 0.0, set(), most_classes(study.cells)
    for cell in study.cells:
        images = images_of(cell.base)
        timed = _paces(cell, classes[cell.name])
        places.add(timed.device)
        hours = hours_of(cell, study, timed, images)
        total += hours.total
        numbers = f"{hours.step:>8.3g} {hours.run:>9.3g} {sum(runs_of(cell, study)):>5} {hours.total:>9.3g}"
        yield f"{cell.name:<{width}} {images.train:>7,} {numbers}"
    threads = study.cells[0].base.threads
    where = " and ".join(sorted(places))
    yield f"in all {total:.3g} device-hours ({where}; {threads} CPU thread{'s' if threads > 1 else ''} a run)"


def hours_of(cell: Cell, study: StudyConfig, paces: Paces, images: Images) -> Hours:
    """The cell's device-hours.

    Args:
        cell, study: what is run how often.
        paces: of one worker.
        images: of the cell's data.
    """
    config = cell.base
    share = -(-config.batch_size // config.workers)
    steps = max(1, -(-images.train // config.batch_size))
    step = paces.step.seconds(share)
    workers = config.workers

    def evaluated(images: int) -> float:
        return -(-images // config.batch_size) * paces.evaluation.seconds(share)

    run = config.epochs * (steps * step + evaluated(images.validation)) * workers
    searched, confirmed = runs_of(cell, study)
    total = (searched + confirmed) * run + confirmed * evaluated(images.test) * workers
    return Hours(step, run / 3600, total / 3600)


def runs_of(cell: Cell, study: StudyConfig) -> tuple[int, int]:
    """How many trials a cell has, and how many confirmations, over all repeats of its search."""
    repeats = cell.search.repeats
    return repeats * cell.trials, repeats * study.confirm.k * len(study.confirm.seeds)


def images_of(config: TrialConfig) -> Images:
    """The images of a run: of the prepared data, or as they were published, of which all classes are counted.

    Raises:
        UserError: the data set is one's own and is not prepared.
    """
    if prepared_folder(config) is not None:
        data = data_of(config)
        return Images(len(split_of(data, config, "train")), len(split_of(data, config, "validation")), data.test_images)
    info = lookup(config.dataset)
    if info is None or info.images is None:
        raise UserError(f"{config.dataset} is not prepared, so how many images it has is not known; prepare it first")
    train, test = info.images
    if test is None:
        test = round(TEST_FRACTION * train)
        train -= test
    validation = round(config.val_fraction * train)
    most = None if config.train_per_class is None else config.train_per_class * info.num_classes
    return Images(min(train - validation, most or train), validation, test)


def _paces(cell: Cell, classes: int) -> Paces:
    smaller = cell.base.replace(workers=1, batch_size=min(cell.base.batch_size, TIMED_BATCHES[1]))
    need_of(smaller, cell.name).refuse_beyond(machine_memory(), "this machine, where a smaller step is timed")
    _, channels, side = input_shape(cell.base)
    alike = cell.base.replace(dataset="any", seed=1, prepared_root=None, pretrained=None)
    return _timed(alike, classes, channels, side)


@lru_cache(maxsize=256)
def _timed(config: TrialConfig, classes: int, channels: int, side: int) -> Paces:
    from trainers.learner import InputShape
    from trainers.timing import paces

    return paces(config, InputShape(classes, channels, side), TIMED_BATCHES)
