"""`TrialConfig`: the whole truth of one training run, validated when it is made.

A run is a function of its configuration: data set, model, algorithm, hyperparameters, epochs, batch, image size, seed
and workers. Two runs with equal `fingerprint()` on machines of one kind hold the same bits after every step. Field
names are the published command line's option names, so that a command of the paper's README carries over.
"""

import hashlib
import json
import math
import warnings
from collections.abc import Mapping
from typing import Any

from trainers.content_names import identity_of
from trainers.errors import UserError
from trainers.registry import (
    METHODS,
    MODELS,
    declared,
    fields_of,
    foreign,
    lr_trains_real,
    method_named,
    model_named,
    owners,
    settings_of,
)
from trainers.settings import NEVER, Setting


class TrialConfig:
    """One training run; cannot be changed.

    Its fields are the settings of every run (`trainers.settings.COMMON`) and those that its method and its model
    declare; each is an attribute. Until there were methods and models of one's own every configuration had every
    setting, and it still has those, with their defaults, whoever reads them.

    Args:
        dataset: a name of the catalog, or the path of one's own Parquet file or class folder.
        model: a network's name.
        algorithm: a method's name.
        settings: further settings by name; the others have their defaults.

    Raises:
        UserError: a setting that is unknown or another method's, or a value outside what is allowed.

    Warns:
        UserWarning: a setting of another method that configurations once had, and that is ignored.
    """

    __slots__ = ("_values",)
    _values: dict[str, Any]

    def __init__(self, dataset: str, model: str, algorithm: str, **settings: Any) -> None:
        known = declared()
        others = [name for name, value in settings.items() if name in known and not known[name].is_default(value)]
        for told in foreign([name for name in others if name in fields_of(algorithm, model)], algorithm, model):
            warnings.warn(f"{told}: it is ignored", stacklevel=2)
        self._fill(dataset, model, algorithm, settings)

    def _fill(self, dataset: str, model: str, algorithm: str, settings: Mapping[str, Any]) -> None:
        """Take the settings, also those of another method that every configuration once had."""
        method, network = method_named(algorithm, "algorithm"), model_named(model)
        known = fields_of(algorithm, model)
        given = {"dataset": dataset, "model": model, "algorithm": algorithm, **settings}
        for name in given:
            if name not in known:
                raise UserError(next(foreign([name], algorithm, model), _unknown(name, known)))
        values = {name: setting.check(given.get(name, setting.default)) for name, setting in known.items()}
        object.__setattr__(self, "_values", values)
        method.check(self)
        if values["weight_scale"] is not None and values["xnor"] and values["weight_scale"] != "layer":
            raise UserError(
                f"xnor means weight_scale 'layer', got {values['weight_scale']!r} too; give only one of them"
            )
        if values["workers"] > values["batch_size"] // 2:
            raise UserError(
                f"{values['workers']} workers for batch_size {values['batch_size']} leave under 2 images a worker; "
                f"use at most {values['batch_size'] // 2} workers or a larger batch"
            )
        if network.real_parameters and values["real_optimizer"] == "published":
            for name in ("real_lr", "real_schedule"):
                if values[name] is not None:
                    raise UserError(
                        f"{name} {values[name]!r} beside real_optimizer published, under which lr trains the real "
                        "parameters too; leave it out, or give real_optimizer Adam or SGD"
                    )
        if values["freeze_num"] and "freeze_num" not in {setting.name for setting in network.settings}:
            raise UserError(
                f"freeze_num {values['freeze_num']} freezes the first blocks of {' or '.join(owners('freeze_num'))}; "
                f"the {model} has none, use 0"
            )

    def __getattr__(self, name: str) -> Any:
        # Asked for what is no attribute of the class: a setting. `_values` is missing only before __init__.
        if name != "_values" and name in self._values:
            return self._values[name]
        raise AttributeError(f"a run of {self._values['algorithm'] if name != '_values' else '?'} has no {name}")

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a configuration cannot be changed; `replace({name}=...)` makes another")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TrialConfig) and self._values == other._values

    def __hash__(self) -> int:
        return hash(tuple(self._values.items()))

    def __repr__(self) -> str:
        """What it says beyond the defaults, as it could be written."""
        known = fields_of(self.algorithm, self.model)
        said = {name: value for name, value in self._values.items() if not known[name].is_default(value)}
        return f"TrialConfig({', '.join(f'{name}={value!r}' for name, value in said.items())})"

    def __reduce__(self) -> tuple[Any, ...]:
        return TrialConfig.from_dict, (self.to_dict(),)

    @property
    def method(self) -> str:
        """The name a comparison shows: the algorithm, for `real` with its optimizer."""
        return method_named(self.algorithm).label(self._values)

    @property
    def scale_kind(self) -> str:
        """The weight scale in force: as given, `layer` for xnor, `channel` for a pretrained file, else `none`."""
        if self.weight_scale is not None:
            return str(self.weight_scale)
        if self.xnor:
            return "layer"
        return "channel" if self.pretrained is not None else "none"

    @property
    def packed(self) -> bool:
        """Whether binary layers keep 1 bit a weight and no latent copy."""
        return method_named(self.algorithm).packed

    @property
    def lr_trains_real(self) -> bool:
        """Whether the learning rate drives real parameters too, as published."""
        return lr_trains_real(self.model, self._values)

    @property
    def settings(self) -> tuple[Setting, ...]:
        """The declarations of what concerns this run: every run's settings, its method's and its model's."""
        return settings_of(self.algorithm, self.model)

    def own(self) -> dict[str, Any]:
        """The values of what concerns this run, by name: without what another method or model reads."""
        return {setting.name: self._values[setting.name] for setting in self.settings}

    def replace(self, **changes: Any) -> "TrialConfig":
        """The same run but for `changes`; validated anew."""
        return TrialConfig.from_dict({**self._values, **changes})

    def to_dict(self) -> dict[str, Any]:
        """Every field by name, as plain values."""
        return dict(self._values)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrialConfig":
        """The inverse of `to_dict`; unknown or missing names raise `UserError`.

        What is recorded may hold settings that mean nothing to the run, with any value; they are kept.
        """
        missing = [name for name in ("dataset", "model", "algorithm") if name not in values]
        if missing:
            raise UserError(f"{', '.join(missing)} missing; a run needs dataset, model and algorithm")
        settings = {str(name): value for name, value in values.items()}
        made = cls.__new__(cls)
        made._fill(settings.pop("dataset"), settings.pop("model"), settings.pop("algorithm"), settings)
        return made

    @classmethod
    def recorded(cls, values: Mapping[str, Any]) -> "TrialConfig":
        """A configuration that was written down, by `to_dict`, maybe before a setting was there: what it does not name
        is what a run did then. Raises as `from_dict`."""
        if not isinstance(values, Mapping):  # of a file that may hold anything
            return cls.from_dict(values)
        algorithm, model = str(values.get("algorithm")), str(values.get("model"))
        if algorithm not in METHODS.all() or model not in MODELS.all():
            return cls.from_dict(values)
        known = fields_of(algorithm, model)
        then = {name: setting.earlier for name, setting in known.items() if setting.optional}
        return cls.from_dict({**then, **values})

    def fingerprint(self) -> str:
        """A hex digest of everything that decides the trained weights (32 characters)."""
        known = fields_of(self.algorithm, self.model)
        identity = {
            name: value
            for name, value in self._values.items()
            if known[name].identity and (known[name].before is NEVER or value != known[name].before)
        }
        if self.pretrained is not None:
            identity["pretrained"] = identity_of(self.pretrained)
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def _unknown(name: str, known: Mapping[str, Setting]) -> str:
    return f"unknown setting {name}; use {', '.join(known)}"


def learning_rates(model: str, lr: float, step_batch: int) -> tuple[float, float]:
    """`(real parameters' rate, binary layers' rate u)` of one step (algorithm section 5).

    c = sqrt(B/96) with B the global batch of this very step: the last, smaller batch of an epoch has a smaller one.
    The real parameters take lr·c, binary layers the model's factor of it: 0.1 for AdamBNN and BCDNet, 1 for the MLP.
    """
    rate = lr * math.sqrt(step_batch / 96)
    return rate, model_named(model).binary_rate * rate
