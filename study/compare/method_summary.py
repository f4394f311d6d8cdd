"""What a comparison knows of each method on a workload: values by seed, and by search where searches were repeated."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

import numpy as np

from study.compare.accuracy import answers_interval, values_interval
from study.compare.repeats import VarianceSplit, run_table, variance_split
from study.compare.statistics import Estimate, mean_and_interval

BASELINE = "real-Adam"


@dataclass(frozen=True)
class MethodSummary:
    """One configuration of one method in one phase; nearly always its only row.

    Attributes:
        method: a method or an ablation's variant of one, e.g. `binary-EWM-gaussian`.
        phase: confirm, or train or search where nothing is confirmed.
        seeds: the seeds that completed, ascending.
        planned: how many runs of this configuration there are, completed or not.
        configuration: its settings, without those that the method does not use.
        validation, test: accuracy by seed, fractions 0..1; empty where not measured or not opened.
        memory: peak memory by seed, in bytes; empty where not measured.
        state_bits: bits a binary weight that training keeps from step to step, by seed; empty where not recorded.
        train_seconds: the mean over the runs.
        trial_ids: the runs that this stands on.
        trial: the number of the search trial that it is, or that it confirms; None for a run of its own.
        represents: whether it is the configuration that stands for the method (§5.1).
        one_of_several: whether the method has further rows.
        answers: by seed, which images of the test set it was right on, bool (images,); of the seeds that kept them.
        test_set: which test set these are of; None where none are kept, or of several.
        test_images, validation_images: how many images accuracies were measured on; None where that is not recorded.
        repeats: where the search was repeated, the row of each by its number: values by seed are then means over them.
    """

    method: str
    phase: str
    seeds: tuple[int, ...]
    planned: int
    configuration: dict[str, Any]
    validation: Mapping[int, float]
    test: Mapping[int, float]
    memory: Mapping[int, float]
    state_bits: Mapping[int, float] = field(default_factory=dict)
    train_seconds: float | None = None
    trial_ids: tuple[str, ...] = ()
    trial: int | None = None
    represents: bool = True
    one_of_several: bool = False
    answers: Mapping[int, np.ndarray] = field(default_factory=dict)
    test_set: str | None = None
    test_images: int | None = None
    validation_images: int | None = None
    repeats: Mapping[int, "MethodSummary"] = field(default_factory=dict)

    @property
    def parts(self) -> tuple["MethodSummary", ...]:
        """The row itself, or that of each of its searches."""
        return tuple(self.repeats.values()) or (self,)

    @property
    def completed(self) -> int:
        """Runs that completed."""
        return sum(len(part.seeds) for part in self.parts)

    @property
    def n(self) -> str:
        """How many seeds, or searches x seeds, in words.

        >>> MethodSummary("bop", "search", (1, 2), 1, {}, {}, {}, {}).n
        '2'
        """
        return f"{len(self.repeats)}x{len(self.seeds)}" if self.repeats else str(len(self.seeds))

    @property
    def answered(self) -> bool:
        """Whether every run kept its answers to the test set, and all to the same."""
        return all(part.answers.keys() == set(part.seeds) for part in self.parts)

    @property
    def confirmed(self) -> bool:
        return self.phase == "confirm"

    @property
    def label(self) -> str:
        """The row's name: the method, with its phase where that is not confirm and its trial where it has several.

        >>> MethodSummary("bop", "search", (1,), 1, {}, {}, {}, {}).label
        'bop (search)'
        """
        trial = f"#{self.trial}" if self.one_of_several and self.trial is not None else ""
        return self.method + trial + ("" if self.confirmed else f" ({self.phase})")

    @property
    def val_accuracy(self) -> Estimate | None:
        """Over seeds (and searches) and validation images, whose answers are not kept (§5.2)."""
        if not self.validation:
            return None
        return values_interval(run_table([part.validation for part in self.parts]), self.validation_images)

    @property
    def test_accuracy(self) -> Estimate | None:
        """Over seeds (and searches) and test images (§5.2)."""
        if not self.test:
            return None
        if self.test_set is not None and self.answered and self.seeds:
            by_search = [[part.answers[seed] for seed in self.seeds] for part in self.parts]
            return answers_interval(np.array(by_search))
        return values_interval(run_table([part.test for part in self.parts]), self.test_images)

    def over_images(self, measure: str) -> bool:
        """Whether the interval of its `test` or `validation` accuracy is over images too, not over runs alone."""
        return (self.test_images if measure == "test" else self.validation_images) is not None

    @property
    def split(self) -> VarianceSplit | None:
        """The variance of its score by searches, seeds and images; None where a search was not repeated."""
        if len(self.repeats) < 2 or len(self.seeds) < 2 or self.test_set is None or not self.answered:
            return None
        return variance_split([[part.answers[seed] for seed in self.seeds] for part in self.parts])

    @property
    def peak_memory(self) -> Estimate | None:
        """In bytes."""
        return mean_and_interval(list(self.memory.values())) if self.memory else None


@dataclass(frozen=True)
class CellGroup:
    """All methods on one workload, a data set and a model: in the registry's order, an ablation's after their own."""

    dataset: str
    model: str
    methods: tuple[MethodSummary, ...] = field(default=())

    @property
    def scored(self) -> tuple[MethodSummary, ...]:
        """The confirmed rows, or all of them while nothing is confirmed: what may be shown in one picture."""
        return tuple(method for method in self.methods if method.confirmed) or self.methods

    @property
    def measure(self) -> str:
        """`test` where every scored row was tested, otherwise `validation`: the two are never mixed."""
        return "test" if self.scored and all(method.test for method in self.scored) else "validation"

    def accuracy(self, method: MethodSummary) -> Mapping[int, float]:
        """A row's accuracy by seed, of the kind that its workload is scored by."""
        return method.test if self.measure == "test" else method.validation

    def estimate(self, method: MethodSummary) -> Estimate | None:
        """The mean of that with its interval."""
        return method.test_accuracy if self.measure == "test" else method.val_accuracy

    @property
    def baseline(self) -> MethodSummary | None:
        """What the others are compared with (§6.1): real-Adam, or else the method that needs most memory."""
        representatives = [method for method in self.scored if method.represents]
        for method in representatives:
            if method.method == BASELINE:
                return method
        measured = [method for method in representatives if method.memory]
        return max(measured, key=lambda method: fmean(method.memory.values()), default=None)
