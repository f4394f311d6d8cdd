"""A study's settings as they stand in its file: how to search, to confirm, what a run takes; and what they may be.

Each class checks its values when it is made, in a study file, on the command line and in Python alike; the text below
a field is what the published schema (`python -m study schema`) and the documentation say of it.
"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    WithJsonSchema,
    create_model,
    model_validator,
)
from pydantic.dataclasses import dataclass

from search_spaces import TEMPERATURE_MODES
from study.define.refusals import OneOf, ShapedBy
from trainers.errors import UserError
from trainers.registry import METHODS, OWN, cell_methods, declared, owners
from trainers.settings import LARGEST_WHOLE, PLACEMENTS, Setting

METRIC = "val_accuracy"
OBJECTIVES: dict[str, Literal["maximize", "minimize"]] = {METRIC: "maximize", "peak_memory_bytes": "minimize"}
"""What a search may go by, and which way; validation accuracy always, first, and in early stopping alone."""

SAMPLERS = {"tpe": "TPE", "random": "random draws", "qmc": "quasi-random draws"}
"""How a search draws its configurations, each with its name in words."""

CONFIG = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
"""How every part of a study file is read: no other keys, and no number that is infinite or none."""

Count: TypeAlias = Annotated[StrictInt, Field(ge=1, le=LARGEST_WHOLE)]
Seed: TypeAlias = Annotated[StrictInt, Field(ge=0, le=LARGEST_WHOLE)]
MethodName: TypeAlias = Annotated[StrictStr, OneOf(cell_methods, OWN)]


def _plain(value: Any) -> int | float | str:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise UserError(f"{value!r} is neither a number nor text; give one of them")
    return value


Value: TypeAlias = Annotated[Any, AfterValidator(_plain), WithJsonSchema({"type": ["number", "string"]})]
"""One of the values that are listed to choose from: a number or a text."""


def ablatable() -> tuple[str, ...]:
    """What a block's `ablate` may list values of: each makes a method of its own."""
    return tuple(name for name, setting in declared().items() if setting.ablatable)


def fixed_shape() -> type[BaseModel]:
    """The settings that `fixed` may hold: those that nothing else sets, each with its type."""
    return _shape_of(tuple(setting for setting in declared().values() if not setting.set_by))


@cache
def _shape_of(settings: tuple[Setting, ...]) -> type[BaseModel]:
    strict: dict[type, Any] = {int: StrictInt, float: StrictFloat, str: StrictStr, bool: StrictBool}
    shape: dict[str, Any] = {}
    for setting in settings:
        plain = strict[setting.kind]
        kind = plain | None if setting.default is None else plain
        about = Field(description=setting.help, json_schema_extra=_allowed(setting))
        shape[setting.name] = (Annotated[kind, AfterValidator(setting.check), about], setting.default)
    return create_model("FixedSettings", __config__=CONFIG, __doc__="Settings of every run.", **shape)


def _allowed(setting: Setting) -> dict[str, Any]:
    """A setting's values in the words of JSON schema."""
    least = setting.least if setting.study_least is None else setting.study_least
    bounds = {"minimum": least, "exclusiveMinimum": setting.above, "exclusiveMaximum": setting.below}
    allowed: dict[str, Any] = {name: bound for name, bound in bounds.items() if bound is not None}
    if setting.choices:
        allowed["enum"] = [*setting.choices, *([None] if setting.default is None else [])]
    return allowed


def _nothing_set_elsewhere(values: Any) -> Any:
    for name in values if isinstance(values, Mapping) else ():
        setting = declared().get(name)
        if setting is not None and setting.set_by:
            raise UserError(f"{name} is set by {setting.set_by}; take it out of here")
    return values


FixedSettings: TypeAlias = Annotated[dict[str, Any], ShapedBy(fixed_shape), BeforeValidator(_nothing_set_elsewhere)]


@dataclass(frozen=True, config=CONFIG)
class AshaConfig:
    """When a trial that lags is stopped (ASHA, Li et al., MLSys 2020); epochs are its unit of time."""

    grace_period: Count = 1
    """Epochs that every trial gets."""
    reduction_factor: Annotated[StrictInt, Field(ge=2, le=LARGEST_WHOLE)] = 3
    """Of the trials at a rung, one in this many goes on."""


def _objectives(names: tuple[str, ...]) -> tuple[str, ...]:
    if list(names) not in ([METRIC], list(OBJECTIVES)):
        raise UserError(f"{list(names)!r} is not offered; give [{METRIC}] or [{', '.join(OBJECTIVES)}]")
    return names


def _early_stopping(value: Any) -> Any:
    """`true` is the default's early stopping, `false` is none."""
    return (AshaConfig() if value else None) if isinstance(value, bool) else value


@dataclass(frozen=True, config=CONFIG)
class SearchConfig:
    """How the best configuration of a cell is looked for, on validation accuracy alone."""

    trials: Count = 20
    """Configurations that a cell may try (one where its space is empty)."""
    seed: Seed = 1
    """The study's seed: that of every search trial's training, and where the sampler's draws come from."""
    repeats: Count = 1
    """How often each cell is searched, each time with other seeds (seed, seed + 1, ...) and its own best confirmed: a
    method's score is over all of them, so that a search's luck is in its interval."""
    objectives: Annotated[
        tuple[Annotated[StrictStr, OneOf(lambda: OBJECTIVES)], ...], AfterValidator(_objectives), Field(min_length=1)
    ] = (METRIC,)
    """What the best is best in: validation accuracy, and peak memory where two are given."""
    sampler: Annotated[StrictStr, OneOf(lambda: SAMPLERS)] = "tpe"
    """How configurations are drawn: tpe learns from the trials so far (Watanabe, arXiv:2304.11127), random draws them
    independently of one another, qmc spreads them evenly (scrambled Sobol' points)."""
    startup_trials: Count | None = None
    """Of tpe: random draws, until so many trials have ended. A quarter of the trials, 4 to 10, where it is left out."""
    asha: Annotated[AshaConfig | None, BeforeValidator(_early_stopping, json_schema_input_type=AshaConfig | bool)] = (
        Field(default_factory=lambda given: AshaConfig() if len(given["objectives"]) == 1 else None)
    )
    """Early stopping; false lets every trial finish. On where there is one objective, off where there are two."""
    temperature_mode: Annotated[StrictStr, OneOf(lambda: TEMPERATURE_MODES)] = "decoupled"
    """What `binary` asks for: a temperature of its own, or one that the learning rate sets, as in the paper."""
    ranges: dict[MethodName, dict[str, list[Value]]] = Field(default_factory=dict)
    """By method, ranges that replace those of its search space: `[low, high]`, or the values to choose from."""
    fixed: dict[MethodName, FixedSettings] = Field(default_factory=dict)
    """By method, settings that are not searched."""

    @model_validator(mode="after")
    def _settings_of_their_method(self) -> "SearchConfig":
        for method, values in self.fixed.items():
            algorithm = method.partition("-")[0]
            for name in values:
                whose = owners(name)
                if algorithm not in whose and any(owner in METHODS.all() for owner in whose):
                    raise UserError(
                        f"fixed: {method}: {name} is a setting of {' and '.join(whose)}, which {algorithm} does not "
                        "have; take it out of here"
                    )
        return self

    @model_validator(mode="after")
    def _startup_of_what_learns(self) -> "SearchConfig":
        if self.startup_trials is not None and self.sampler != "tpe":
            raise UserError(
                f"startup_trials is a setting of tpe, and the sampler is {self.sampler}; take one of them out"
            )
        return self

    @model_validator(mode="after")
    def _one_score_of_several_searches(self) -> "SearchConfig":
        if self.repeats > 1 and len(self.objectives) > 1:
            raise UserError(
                "repeats makes one score of several searches, and a search with two objectives has no single best; "
                f"take repeats out, or give objectives: [{METRIC}]"
            )
        return self

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seed of each search."""
        return tuple(range(self.seed, self.seed + self.repeats))

    @property
    def startup(self) -> int | None:
        """Random draws of a search that begins now, before its sampler learns; None where it never does.

        A model needs one trial more than there are parameters (Falkner et al., "BOHB", ICML 2018); spaces here have up
        to three.
        """
        if self.sampler != "tpe":
            return None
        return min(10, max(4, self.trials // 4)) if self.startup_trials is None else self.startup_trials

    @model_validator(mode="after")
    def _no_early_stopping_by_two_objectives(self) -> "SearchConfig":
        if len(self.objectives) > 1 and self.asha:
            raise UserError(
                "asha stops trials by their validation accuracy, and Optuna none that has several objectives; "
                f"take asha out, or give objectives: [{METRIC}]"
            )
        return self


def _each_once(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise UserError(f"{list(seeds)} holds one twice; give each once, or the same run would count twice")
    return seeds


@dataclass(frozen=True, config=CONFIG)
class ConfirmConfig:
    """The best configurations of a cell, trained again with fresh seeds, unpruned; these runs open the test set."""

    k: Annotated[StrictInt, Field(ge=0, le=LARGEST_WHOLE)] = 1
    """How many configurations of a cell are confirmed; 0 for none."""
    seeds: Annotated[tuple[Seed, ...], AfterValidator(_each_once)] = (11, 12, 13)
    """The seeds with which each is trained; none of them the search's."""
    margin: Annotated[StrictFloat, Field(gt=0, lt=100)] = 1.0
    """Points of accuracy within which two methods count as comparable (PROTOCOL §6.2)."""


@dataclass(frozen=True, config=CONFIG)
class ResourcesConfig:
    """What one trial takes, and how many run side by side."""

    workers: Count = 1
    """Data-parallel workers of a trial."""
    least_workers: Count | None = None
    """Where a machine is lost, go on with as few workers as this (PROTOCOL §8.5); wait for all where it is left out."""
    placement: Annotated[StrictStr, OneOf(lambda: PLACEMENTS)] = "pack"
    """Where the workers of a trial of several lie: `pack`, on as few nodes as hold them, or `spread`, on as many."""
    threads: Count = 1
    """CPU threads of a worker."""
    device: Annotated[StrictStr, OneOf(lambda: ("auto", "cpu", "cuda"))] = "auto"
    """auto, cpu or cuda; on `cuda` each worker takes a GPU."""
    at_once: Count | None = None
    """The most trials side by side; as many as fit where it is left out. With 1 the search is the same every time;
    with more, what a trial learns from depends on which others have ended."""


RUN_RESOURCES = ("workers", "least_workers", "placement", "threads", "device")
"""What of `ResourcesConfig` every run has as a setting."""


def check_margin(points: float, where: str) -> None:
    """Refuse a margin of equivalence within which no difference, or every one, would lie."""
    if not 0 < points < 100:
        raise UserError(f"{where} is {points:g} points; give more than 0 and less than 100, e.g. 1")
