"""`StudyConfig`: which cells a study has, what each may spend, and what makes two studies the same one.

A *cell* is one (data set, model, method); a *method* is an algorithm, for training in real space with its optimizer
(`real` alone searches the optimizer too), in an ablation with its mask, scheduler or bits. The budget (trials, k,
confirmation seeds) may grow from one call to the next; everything else is a cell's identity.
"""

import dataclasses
import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

from search_spaces import Choice, Space, footprint, space_for
from study.define.settings import RUN_RESOURCES, AshaConfig, ConfirmConfig, ResourcesConfig, SearchConfig
from trainers.config import TrialConfig
from trainers.content_names import identity_of
from trainers.errors import UserError
from trainers.registry import OWN, cell_methods, fields_of, method_named, settings_of
from trainers.settings import one_of

__all__ = [
    "AshaConfig",
    "Cell",
    "ConfirmConfig",
    "ResourcesConfig",
    "SearchConfig",
    "StudyConfig",
    "check_name",
    "dataset_label",
    "make_cell",
]

# Characters of a data set's name within the name of a cell, which names files too.
LONGEST_LABEL = 60


@dataclass(frozen=True)
class Cell:
    """One (data set, model, method), searched by one sweep.

    Args:
        base: the configuration that every trial of the cell starts from.
        method: one that `trainers.registry.cell_methods` lists; in an ablation with what is ablated behind it, as in
            `binary-EWM-gaussian` or `binary-4bit`.
        fixed: names of the `TrialConfig` fields that were set on purpose and are therefore not searched.
        ranges: this method's own search ranges.
        search: the study's search settings.
        at_once: the most trials side by side; None for as many as fit.
        repeat: which of the searches of this method this is, from 1; each has a seed of its own.
    """

    base: TrialConfig
    method: str
    fixed: frozenset[str]
    ranges: Mapping[str, Any]
    search: SearchConfig
    at_once: int | None = None
    repeat: int = 1

    @property
    def searched(self) -> str:
        """`<dataset>-<model>-<method>`, e.g. `CIFAR10-AdamBNN-binary`: what is searched, in each of its repeats."""
        return f"{dataset_label(self.base.dataset)}-{self.base.model}-{self.method}"

    @property
    def name(self) -> str:
        """The same, with `-r2` and so on behind a repeated search's: also the Optuna study's name and a folder's."""
        return self.searched + (f"-r{self.repeat}" if self.repeat > 1 else "")

    def repeats(self) -> "list[Cell]":
        """This search and its repeats: repeat r is the search that a study of seed + r - 1 would make."""
        return [
            dataclasses.replace(
                self,
                base=self.base.replace(seed=seed),
                search=dataclasses.replace(self.search, seed=seed),
                repeat=number,
            )
            for number, seed in enumerate(self.search.seeds, start=1)
        ]

    @property
    def repeat_tag(self) -> dict[str, str]:
        """What the records of a repeated search say beside those of a first one."""
        return {"repeat": str(self.repeat)} if self.repeat > 1 else {}

    @property
    def space(self) -> Space:
        return space_for(self.base.algorithm)

    @property
    def space_options(self) -> dict[str, Any]:
        """What the space is called with, beside the trial and the model."""
        fixed = {name: getattr(self.base, name) for name in self.fixed}
        if self.base.pretrained is not None:  # a study's own pretraining sets it too, and a space may depend on it
            fixed["pretrained"] = self.base.pretrained
        options: dict[str, Any] = {"fixed": fixed}
        if self.ranges:
            options["ranges"] = dict(self.ranges)
        if "temperature_mode" in self.space.options:
            options["temperature_mode"] = self.search.temperature_mode
        return options

    @property
    def trials(self) -> int:
        """Search trials that the cell is to have: the budget, or 1 where nothing is left to search."""
        return 1 if self.space.is_empty(self.base.model, **self.space_options) else self.search.trials

    def identity(self) -> dict[str, Any]:
        """Everything that decides what the cell's trials are, except how many: flat, as JSON values."""
        # Where data lie, what they are computed on and whether runs check themselves makes a study no other one.
        known = fields_of(self.base.algorithm, self.base.model)
        elsewhere = {name for name, setting in known.items() if not setting.identity}
        base = {name: value for name, value in self.base.to_dict().items() if name not in elsewhere}
        if self.base.pretrained is not None:
            base["pretrained"] = identity_of(self.base.pretrained)
        asha = self.search.asha
        return {
            **base,
            "method": self.method,
            "fixed": sorted(self.fixed.difference(elsewhere)),
            "temperature_mode": self.search.temperature_mode if "temperature_mode" in self.space.options else None,
            "ranges": {name: list(values) for name, values in sorted(self.ranges.items())},
            "asha": [asha.grace_period, asha.reduction_factor] if asha else None,
            # Said only where there are several, so that studies of before there were several are still the same.
            **({"objectives": list(self.search.objectives)} if len(self.search.objectives) > 1 else {}),
            # Likewise; a number of start-up draws that nobody gave is kept by the search's journal.
            **({"sampler": self.search.sampler} if self.search.sampler != "tpe" else {}),
            **({"startup_trials": self.search.startup_trials} if self.search.startup_trials is not None else {}),
        }

    def searched_memory(self) -> dict[str, Sequence[Any]]:
        """The settings of memory that are searched, with the values that each may take."""
        names = footprint.parameters(self.base.algorithm, self.base.model)
        return {name: self.ranges[name] for name in names if name in self.ranges}

    def configurations(self) -> list[TrialConfig]:
        """The base with every combination of what the search may choose that changes a run's memory."""
        choices = dict(self.searched_memory())
        deciding = {setting.name for setting in self.base.settings if setting.memory in ("more", "less", "other")}
        for name, values in self.space.parameters(self.base.model, self.space_options["fixed"]).items():
            if isinstance(values, Choice) and name in deciding and name not in self.fixed:
                choices[name] = self.ranges.get(name, values.values)
        combinations = product(*choices.values())
        return [self.base.replace(**dict(zip(choices, values, strict=True))) for values in combinations]

    def demanding(self) -> list[TrialConfig]:
        """Those of `configurations` among which the one is that takes the most memory.

        More images a step, more channels, fewer frozen modules and more bits of momentum never take less: what a
        setting's declaration says of memory.
        """
        every = self.configurations()
        for setting in self.base.settings:
            if setting.memory in ("more", "less"):
                values = [getattr(one, setting.name) for one in every if getattr(one, setting.name) is not None]
                if values:
                    most = max(values) if setting.memory == "more" else min(values)
                    every = [one for one in every if getattr(one, setting.name) in (most, None)]
        return every


@dataclass(frozen=True)
class StudyConfig:
    """A whole study; read from a file by `study.define.study_file`, or of one cell that a command line gives."""

    name: str
    cells: tuple[Cell, ...]
    search: SearchConfig = field(default_factory=SearchConfig)
    confirm: ConfirmConfig = field(default_factory=ConfirmConfig)
    resources: ResourcesConfig = field(default_factory=ResourcesConfig)
    tracking_uri: str | None = None
    contrasts: tuple[tuple[str, str], ...] = ()
    pretrainings: Mapping[str, TrialConfig] = field(default_factory=dict)
    """By cell name, the training whose network the cell starts from, where the study makes one."""

    def __post_init__(self) -> None:
        check_name(self.name)
        methods = {cell.method for cell in self.cells}
        for pair in self.contrasts:
            for method in pair:
                if method not in methods:
                    raise UserError(
                        f"contrasts: {method!r} is no method of this study; use two of {', '.join(sorted(methods))}"
                    )
            if pair[0] == pair[1]:
                raise UserError(f"contrasts: {pair[0]!r} is compared with itself; give two methods")
        names = [cell.name for cell in self.cells]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise UserError(
                f"cell {twice[0]} appears twice in study {self.name!r}; list each data set, model, method once"
            )
        if self.confirm.k and (own := sorted(set(self.search.seeds) & set(self.confirm.seeds))):
            whose = "the search's own seed" if self.search.repeats == 1 else "that of a repeated search"
            raise UserError(f"confirmation seed {own[0]} is {whose}; give fresh seeds, e.g. 11, 12, 13")

    def identity(self) -> dict[str, dict[str, Any]]:
        """By cell name, everything but the budget."""
        return {cell.name: cell.identity() for cell in self.cells}


def check_name(name: str) -> None:
    """Refuse a study name that could not name a folder and an MLflow experiment alike."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", name):
        raise UserError(f"study name {name!r} cannot be used; take letters, digits, '-', '_' and '.' only, at most 100")


def dataset_label(dataset: str) -> str:
    """A data set's name within a folder name: a catalog name as it is, a path as its stem and 8 digits of its hash.

    >>> dataset_label("CIFAR10")
    'CIFAR10'
    """
    if re.fullmatch(rf"[A-Za-z0-9]{{1,{LONGEST_LABEL}}}", dataset):
        return dataset
    stem = re.sub(r"[^A-Za-z0-9_.]+", "_", Path(dataset).stem)[:LONGEST_LABEL].strip("._") or "data"
    return f"{stem}-{hashlib.sha256(os.path.realpath(dataset).encode()).hexdigest()[:8]}"


def make_cell(
    dataset: str,
    model: str,
    method: str,
    *,
    fixed: Mapping[str, Any],
    search: SearchConfig,
    resources: ResourcesConfig,
    data_root: str = "data",
    prepared_root: str | None = None,
    ablated: Mapping[str, str | int] | None = None,
) -> Cell:
    """One validated cell.

    Args:
        dataset, model, method: what it is of.
        fixed: the `TrialConfig` fields that the user set.
        search, resources: the study's.
        data_root, prepared_root: where data lie.
        ablated: what makes the method a variant of its own, of `study.define.settings.ablatable`.

    Raises:
        UserError: an unknown method, a setting that no run could have, a range that no trial could use, or a search
            that has no validation data to go by.
    """
    one_of("method", method, cell_methods(), OWN)
    algorithm, _, variant = method.partition("-")
    ablated = ablated or {}
    settings = {**fixed, **search.fixed.get(method, {})}
    ranges = search.ranges.get(method, {})
    _check_ablated(method, model, ablated, settings, ranges)
    settings = {**settings, **ablated}
    chosen = {**settings, method_named(algorithm).variant: variant} if variant else settings
    base = TrialConfig.from_dict(
        {
            **chosen,
            **{name: getattr(resources, name) for name in RUN_RESOURCES},
            "dataset": dataset,
            "model": model,
            "algorithm": algorithm,
            "seed": search.seed,
            "data_root": data_root,
            "prepared_root": prepared_root,
        }
    )
    try:
        space_for(algorithm).check_ranges(model, ranges, chosen)
        space_for(algorithm).is_empty(model, fixed=chosen, ranges=ranges)  # refuses values that exclude each other
    except ValueError as error:
        raise UserError(str(error)) from None
    if base.epochs == 0:
        raise UserError(
            "epochs 0 trains nothing, so there is nothing to search; give 1 or more (`python -m study train "
            "--epochs 0` evaluates a pretrained network as it is)"
        )
    if base.val_fraction == 0:
        raise UserError("val_fraction 0 leaves a search nothing to choose by; give one above 0, e.g. 0.1")
    if search.asha and search.asha.grace_period > base.epochs:
        raise UserError(f"asha grace_period {search.asha.grace_period} exceeds the {base.epochs} epochs; lower it")
    # A name says by itself what it is, a number of bits that it is one; another number needs its setting's name.
    told = [
        value if isinstance(value, str) else f"{value}bit" if name.endswith("bits") else f"{name}{value}"
        for name, value in ablated.items()
    ]
    label = "-".join([method, *told])
    cell = Cell(base, label, frozenset(chosen), ranges, search, resources.at_once)
    for name, values in cell.searched_memory().items():
        if name in chosen:
            raise UserError(f"{method}: {name} is fixed and has a range; leave one of them out")
        for value in values:  # each must make a run that could be
            base.replace(**{name: value})
        # Where a run is spoken of that stands for all of them, it takes the first of the values.
        cell = dataclasses.replace(cell, base=cell.base.replace(**{name: values[0]}))
    return cell


def _check_ablated(
    method: str, model: str, ablated: Mapping[str, str | int], settings: Mapping[str, Any], ranges: Mapping[str, Any]
) -> None:
    """Refuse an ablation over what the method does not have, or what is settled elsewhere."""
    own = {setting.name for setting in settings_of(method.partition("-")[0], model)}
    for name in ablated:
        if name not in own:
            raise UserError(f"ablate: method {method!r} has no {name}; give methods that have one a block of their own")
        if name in settings or name in ranges:
            where = "fixed" if name in settings else "search: ranges"
            raise UserError(f"ablate: {name} of {method!r} is settled in {where} too; leave one of them out")
