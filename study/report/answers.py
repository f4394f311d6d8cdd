"""Image by image: accuracy by class, and the test images on which methods disagree, as pictures where data are at hand.

The class of a test image is known from the prepared data, where those are the ones that the runs were tested on; else
from the answers that were right. An image that no run got right has then no known class, and is counted apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from study.compare.contrasts import CONTROL
from study.compare.scores import CellGroup, MethodSummary
from study.compare.table import NONE, group_title
from study.report.answer import runs_anchor
from study.report.content import StudyContent
from study.report.document import (
    Block,
    Paragraph,
    Picture,
    Pictures,
    Section,
    Words,
    anchor,
    by_workload,
    linked,
    strong,
    table,
    text,
)
from study.report.pictures import PictureSet, pictures_of
from trainers.predictions import Predictions

MOST_CLASSES = 20
MOST_PICTURES = 12


@dataclass(frozen=True)
class Answers:
    """The answers of one workload's confirmed methods to one test set.

    Attributes:
        labels: of each image its class, int64 (images,); -1 where it is not known.
        right: by method's label, the share of its seeds that were right on each image, float64 (images,).
        named: by method's label, the class that most of its seeds named, int64 (images,).
        test_set: which test set.
    """

    labels: np.ndarray
    right: Mapping[str, np.ndarray]
    named: Mapping[str, np.ndarray]
    test_set: str
    rows: Mapping[str, MethodSummary] = field(default_factory=dict)


def answers(content: StudyContent, *, pictures: bool) -> Section:
    """A part a workload of which answers are kept."""
    parts = []
    for number, workload in enumerate(content.findings.workloads):
        group = workload.group
        found = answers_of(content, group)
        if found is None:
            blocks: tuple[Block, ...] = (Paragraph(text("The answers to each test image are not kept."), "note"),)
        else:
            data = pictures_of(content, group, found.test_set) if pictures else None
            blocks = (*_by_class(group, found, data), *_disagreements(found, data, pictures))
        parts.append(Section(anchor("answers", str(number + 1)), group_title(group), blocks))
    return by_workload("answers", "Classes, and images that methods disagree on", (), parts)


def answers_of(content: StudyContent, group: CellGroup) -> Answers | None:
    """What is kept of a workload's answers; None where nothing is, or of several test sets."""
    runs: dict[str, list[Predictions]] = {}
    rows = {}
    for row in group.methods:
        own = [content.predictions[name] for name in row.trial_ids if name in content.predictions]
        if row.confirmed and own:
            runs[row.label], rows[row.label] = own, row
    every = [one for own in runs.values() for one in own]
    if not every or len({one.test_set for one in every}) > 1 or len({one.images for one in every}) > 1:
        return None
    labels = np.full(every[0].images, -1, np.int64)
    for one in every:
        labels[one.correct] = one.predicted[one.correct]
    right = {label: np.mean([one.correct for one in own], axis=0) for label, own in runs.items()}
    named = {label: _most_named(own) for label, own in runs.items()}
    return Answers(labels, right, named, every[0].test_set, rows)


def _most_named(runs: Sequence[Predictions]) -> np.ndarray:
    """The class that most runs named for each image; of equally many the lowest."""
    stacked = np.stack([run.predicted for run in runs])
    counts = np.stack([(stacked == one).sum(axis=0) for one in range(int(stacked.max()) + 1)])
    return counts.argmax(axis=0)


def _by_class(group: CellGroup, found: Answers, data: PictureSet | None) -> list[Block]:
    labels = data.labels if data is not None else found.labels
    classes = [int(one) for one in np.unique(labels) if one >= 0]
    accuracy = {
        label: {one: float(100 * right[labels == one].mean()) for one in classes}
        for label, right in found.right.items()
    }
    blocks: list[Block] = []
    unknown = int((labels < 0).sum())
    if unknown:
        left = "1 image that no run got right is" if unknown == 1 else f"{unknown:,} images that no run got right are"
        words = f"{left} left out, since without the data their class is not known."
        blocks.append(Paragraph(text(words), "note"))
    shown, title = classes, "Test accuracy by class in %, the mean over the seeds"
    if len(classes) > MOST_CLASSES:
        spread = {one: np.ptp([by[one] for by in accuracy.values()]) for one in classes}
        shown = sorted(sorted(classes, key=lambda one: -spread[one])[:MOST_CLASSES])
        title += f"; of {len(classes)} classes the {MOST_CLASSES} on which the methods differ most"
    rows: list[list[Words]] = [
        [
            class_name(data, one),
            f"{int((labels == one).sum())}",
            *(
                linked(f"{by[one]:.1f}", "#" + runs_anchor(group, found.rows[label].method))
                for label, by in accuracy.items()
            ),
            _hardest(accuracy, one),
        ]
        for one in shown
    ]
    header = ["class", "images", *accuracy, "worst at it"]
    numeric = range(1, len(header) - 1)
    blocks.append(table(title, header, rows, numeric=numeric))
    return blocks


def _hardest(accuracy: Mapping[str, Mapping[int, float]], one: int) -> str:
    """Who, the control aside, is furthest behind on a class, where anyone is by more than a point."""
    accuracy = {label: by for label, by in accuracy.items() if label != CONTROL} or accuracy
    worst = min(accuracy, key=lambda label: accuracy[label][one])
    best = max(by[one] for by in accuracy.values())
    return f"{worst}, by {best - accuracy[worst][one]:.1f}" if best - accuracy[worst][one] > 1 else NONE


def class_name(data: PictureSet | None, one: int) -> str:
    """A class by its name where that is known, otherwise by its number."""
    if data is None or one >= len(data.class_names):
        return f"class {one}"
    return data.class_names[one]


def disagreement(right: Mapping[str, np.ndarray]) -> np.ndarray:
    """Of each image, how far methods differ: the variance over methods of the share of seeds that were right."""
    return np.var(np.stack(list(right.values())), axis=0)


def _disagreements(found: Answers, data: PictureSet | None, pictures: bool) -> list[Block]:
    learnt = {label: right for label, right in found.right.items() if found.rows[label].method != CONTROL}
    compared = learnt if len(learnt) > 1 else found.right
    if len(compared) < 2:
        return []
    by = disagreement(compared)
    order = [int(place) for place in np.argsort(-by, kind="stable") if by[place] > 0]
    if not order:
        return [Paragraph(text("The methods agree on every image."))]
    several = f"{len(order):,} of {len(by):,} test images"
    words = f"On {several} the methods {', '.join(compared)} are not equally often right. "
    words += f"These are the {min(MOST_PICTURES, len(order))} on which they differ most."
    blocks: list[Block] = [Paragraph(text(words))]
    first = order[:MOST_PICTURES]
    if data is not None and pictures:
        blocks.append(Pictures(tuple(_picture(found, compared, data, place) for place in first)))
        return blocks
    if not pictures:
        blocks.append(Paragraph(text("Without their pictures, as asked."), "note"))
    else:
        blocks.append(Paragraph(text("Their pictures are not shown: the prepared data are not at hand here."), "note"))
    rows: list[list[Words]] = [
        [
            f"test image {place}",
            class_name(None, int(found.labels[place])) if found.labels[place] >= 0 else NONE,
            *(_told(found, None, label, place) for label in compared),
        ]
        for place in first
    ]
    blocks.append(table("Who says what", ["image", "class", *compared], rows, numeric=()))
    return blocks


def _picture(found: Answers, compared: Mapping[str, np.ndarray], data: PictureSet, place: int) -> Picture:
    truth = class_name(data, int(data.labels[place]))
    told = [f"{label}: {_told(found, data, label, place)}" for label in compared]
    return Picture(
        data.png(place),
        f"Test image {place}, of class {truth}. {'; '.join(told)}.",
        text([strong(truth), f", image {place}. ", "; ".join(told)]),
    )


def _told(found: Answers, data: PictureSet | None, label: str, place: int) -> str:
    """`right`, `right in 2 of 3`, or what it says instead."""
    seeds = len(found.rows[label].seeds)
    count = round(float(found.right[label][place]) * seeds)
    if count == seeds:
        return "right"
    if count:
        return f"right in {count} of {seeds}"
    return f"says {class_name(data, int(found.named[label][place]))}"
