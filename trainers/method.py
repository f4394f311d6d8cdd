"""What a method is: one object, in one file, that says all there is to know of an update rule.

A method is made known by standing as `METHOD` in a module of `trainers.methods`, by an installed package's entry point
`binsfo_study.methods`, or by a plug-in file that the command line names (`trainers.plugins`).
"""

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from trainers.errors import UserError
from trainers.model import Model
from trainers.settings import Setting

Config = Any
"""A `TrialConfig`, whose module knows methods and so cannot be named here."""


@dataclass(frozen=True)
class Range:
    """A number that is searched between two others, on a logarithmic scale unless said otherwise."""

    low: float
    high: float
    log: bool = True

    def __post_init__(self) -> None:
        if not self.low < self.high or (self.log and self.low <= 0):
            raise UserError(f"the range {self.low} .. {self.high} is empty or, with log, not above 0; give low < high")


@dataclass(frozen=True)
class Choice:
    """A value that is searched among some."""

    values: tuple[Any, ...]


SearchSpace = Mapping[str, Range | Choice]

REAL_PARAMETERS_LR = Range(1e-5, 1.0)
"""Where the learning rate is searched that trains real parameters beside binary weights, as published: for a rule and
for its control."""

Fixed = Mapping[str, Any]
"""The settings of a run that a study fixes, by name: what a search space may depend on beside the model."""


def fine_tunes(fixed: Fixed) -> bool:
    """Whether a run starts from a pretrained file, so that about one weight in a hundred is to flip: other ranges."""
    return fixed.get("pretrained") is not None


LATENT_SGD, LATENT_ADAM = Range(1e-4, 1e1), Range(1e-5, 1e-1)
"""Where the learning rate of latent weights is searched that are trained from scratch."""

LATENT_SGD_FINE_TUNING, LATENT_ADAM_FINE_TUNING = Range(1e-1, 1e4), Range(1e-6, 1e-2)
"""The same in fine-tuning. Adam's steps have the learning rate's size: on latent weights of 0.01, as a file of signs
gives them, 1e-4 was the best seen (28.7 % on CIFAR-100 after 10 epochs, 1.2 % of all weights flipped), and 1e-3 flips a
tenth of them in 60 steps and destroys the network. SGD's have the gradient's, which in a pretrained network is small
(deviation 2e-6 in ResNet18's layers): for one weight in a hundred to walk 0.01 in 560 steps of noise takes a learning
rate of about 1,000; of 10, where a gradient's deviation is 2e-4."""


def real_parameters_lr(model: Model, fixed: Fixed) -> SearchSpace:
    """The learning rate, where it trains the model's real parameters (`real_optimizer` published); else nothing."""
    published = model.real_parameters and fixed.get("real_optimizer") == "published"
    return {"lr": REAL_PARAMETERS_LR} if published else {}


@dataclass(frozen=True)
class Look:
    """How figures draw a method: a colour and one of matplotlib's marks, the same in every figure."""

    colour: str
    mark: str


@dataclass(frozen=True)
class SimulatedCurve:
    """How a simulated run of a method learns (`study.drive.simulate`); none of it says anything about the method.

    Attributes:
        best: by the method's variant (or its name), the accuracy at its optimum.
        optimum: of a configuration, the value of each setting that steers it, and where that setting's optimum lies.
        factors: of a configuration, what the best accuracy is multiplied by, one after the other.
    """

    best: Mapping[str, float]
    optimum: Callable[[Config], list[tuple[float, float]]]
    factors: Callable[[Config], tuple[float, ...]] = lambda config: ()


@dataclass(frozen=True)
class Method:
    """One method.

    Args:
        name: the algorithm, as the command line and study files name it: letters, digits and underscores.
        help: what it is, in a line.
        layer_rule: makes the rule of one packed layer, `layer_rule(config, name, latent, pretrained)` with the layer's
            name, its real weights before they are packed and whether those are a pretrained file's
            (`trainers.methods.contract.LayerRule`). None, without an `update_rule` either: bits never change.
        update_rule: makes instead one rule of all weights, which stay real, `update_rule(config, model, average)`
            (`trainers.methods.contract.UpdateRule`).
        trains_real: of a model, the real parameters that learn under a packed method; None where all do.
        settings: what it reads beside the settings of every run.
        variant: the name of a setting whose values are methods of their own, as `optimizer` makes `real-SGD`.
        space: what is searched, by setting, or a function `space(model, fixed)` of the model and of the settings that a
            study fixes that says so; None where `search_spaces` has a function of this name.
        check: raises `UserError` for settings that do not go together.
        check_step: the same for what a step of a configuration would be, `check_step(config, rate)` with its binary
            layers' rate.
        describe: the settings that tell one of its trials from another, in a few words; None lists what is searched.
        follows_lr: whether binary weights follow the learning rate, given the settings of a configuration.
        state_bits: bits a binary weight that training keeps from step to step, for a configuration: what
            `trainers.memory.state` must count.
        simulated: its learning curve in a simulated study; None for one like any other's.
        looks: how figures draw it, by variant (or its name); the next colour that is free where nothing is said.
        title: what pages for people call it where that is not its name.
    """

    name: str
    help: str
    layer_rule: Callable[[Config, str, Any, bool], Any] | None = None
    update_rule: Callable[[Config, Any, Any], Any] | None = None
    trains_real: Callable[[Any], Collection[Any]] | None = None
    settings: tuple[Setting, ...] = ()
    variant: str = ""
    space: SearchSpace | Callable[[Model, Fixed], SearchSpace] | None = None
    check: Callable[[Config], None] = lambda config: None
    check_step: Callable[[Config, float], None] = lambda config, rate: None
    describe: Callable[[Config], str] | None = None
    follows_lr: Callable[[Mapping[str, Any]], bool] = lambda settings: True
    state_bits: Callable[[Config], float] = lambda config: 1.0
    simulated: SimulatedCurve | None = None
    looks: Mapping[str, Look] = field(default_factory=dict)
    title: str = ""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,29}", self.name):
            raise UserError(f"method name {self.name!r} cannot be used; take a letter, then letters, digits and _")
        if self.layer_rule is not None and self.update_rule is not None:
            raise UserError(f"method {self.name} has a layer_rule and an update_rule; give one of them")
        if self.trains_real is not None and self.update_rule is not None:
            raise UserError(
                f"method {self.name} has trains_real and an update_rule, which owns all parameters; give one"
            )
        if self.variant and not self.setting(self.variant).choices:
            raise UserError(f"method {self.name}: its variant {self.variant} must be a setting with choices")

    def setting(self, name: str) -> Setting:
        """Its own setting of this name."""
        for setting in self.settings:
            if setting.name == name:
                return setting
        raise UserError(
            f"method {self.name} has no setting {name!r}; it has {', '.join(s.name for s in self.settings)}"
        )

    def searched(self, model: Model, fixed: Fixed) -> SearchSpace:
        """What is searched on a model, beside what is fixed; nothing where no plain data say so."""
        return self.space(model, fixed) if callable(self.space) else self.space or {}

    @property
    def packed(self) -> bool:
        """Whether binary layers keep 1 bit a weight and no latent copy."""
        return self.update_rule is None

    @property
    def flips(self) -> bool:
        """Whether its binary weights ever change."""
        return self.layer_rule is not None or self.update_rule is not None

    @property
    def variants(self) -> tuple[str, ...]:
        """The methods that a comparison knows: itself, or one of each value of its variant."""
        if not self.variant:
            return (self.name,)
        return tuple(f"{self.name}-{value}" for value in self.setting(self.variant).choices)

    def label(self, values: Mapping[str, Any]) -> str:
        """The name that a comparison shows for these settings."""
        return f"{self.name}-{values[self.variant]}" if self.variant else self.name


@dataclass(frozen=True)
class PackedNumbers:
    """Whole numbers of a few bits, one a binary weight, packed row by row (`trainers.binary.counters`).

    Attributes:
        tensor: uint8 (out, ceil(n·bits/8)).
        bits: of each number.
        lowest, highest: what each may be.
    """

    tensor: Any
    bits: int
    lowest: int
    highest: int
