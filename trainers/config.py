"""`TrialConfig`: the whole truth of one training run, validated when it is made.

A run is a function of its configuration: data set, model, algorithm, hyperparameters, epochs, batch, image size, seed
and workers. Two runs with equal `fingerprint()` on machines of one kind hold the same bits after every step. Field
names are the published command line's option names, so that a command of the paper's README carries over.
"""

import dataclasses
import difflib
import hashlib
import json
import math
import reprlib
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from trainers.errors import UserError

MODELS = ("AdamBNN", "BCDNet", "MLP")
ALGORITHMS = ("binary", "real", "bop", "frozen")
MASK_TYPES = ("EWM", "WPM", "RAND")
SCHEDULER_TYPES = ("const", "gaussian", "scaled-gaussian", "relative")
ANNEALS = ("none", "cosine")
INERTIA_BITS = (0, 2, 4, 8)
APPROXIMATIONS = ("STE", "ApproxSign", "ReSTE")
OPTIMIZERS = ("SGD", "Adam")
ACTIVATION_MEMORY = ("stock", "packed")
MOMENTUM_BITS = (16, 32)
WEIGHT_SCALES = ("none", "layer", "channel")

LARGEST_WHOLE = 2**63 - 1
"""The largest whole number that a setting may be, a seed included: records and tables hold 64 bits with a sign."""

_LARGEST = sys.float_info.max

# Where a run reads from or computes on, whether the test set is opened afterwards, and whether the run checks itself:
# none of it changes what is trained.
_NOT_IDENTITY = ("data_root", "prepared_root", "device", "test", "check")
# Settings that came after the first runs: at their defaults they are no part of the fingerprint, so that a run that
# was begun before them can still go on.
_LATER = {"inertia_bits": 0, "anneal": "none"}


def one_of(field: str, value: object, allowed: Iterable[str]) -> None:
    """Raise `UserError` unless `value` is one of the allowed names, suggesting the nearest."""
    names = tuple(allowed)
    if value in names:
        return
    near = difflib.get_close_matches(str(value).lower(), [name.lower() for name in names], n=1)
    hint = next((f" (did you mean {name}?)" for name in names if near and name.lower() == near[0]), "")
    raise UserError(f"{field} {value!r} is unknown; use {' or '.join([', '.join(names[:-1]), names[-1]])}{hint}")


@dataclass(frozen=True)
class TrialConfig:
    """One training run.

    Args:
        dataset: a name of the catalog, or the path of one's own Parquet file or class folder.
        model: AdamBNN, BCDNet or MLP.
        algorithm: `binary` (BinSFO), `real` (real-space SGD or Adam), `bop`, or `frozen` (binary weights never change).
        mask_type, scheduler_type: BinSFO's hypermask and temperature scheduler.
        temperature: T0, the temperature of the very first step ("decoupled": lr then drives only the real parameters);
            None couples it to lr as in the paper. With scheduler `relative` the number that is divided by the
            deviation of a layer's gradient.
        inertia_bits: bits of the counter that each binary weight has under BinSFO: 2, 4 or 8, or 0 for none, the
            paper's rule (see `trainers.methods.inertia`).
        anneal: what every temperature is multiplied by as the run goes on: `none`, 1, or `cosine`,
            0.5·(1 + cos(pi·t/t_max)) at step t of t_max.
        batch_size: global batch, images a step over all workers.
        lr: the learning rate before the factors of `learning_rates`.
        hid_dim, depth: the MLP's hidden width and number of binary layers.
        xnor: the published name of `weight_scale="layer"`.
        weight_scale: none, layer or channel; None means channel where `pretrained` is given, else none.
        approx: gradient surrogate of the sign activation.
        freeze_num: the first n modules of `feature` that take no gradient and stay in evaluation mode.
        optimizer: SGD or Adam, of algorithm `real`.
        bop_threshold: |m| above which Bop flips.
        bop_momentum_bits: 32, or 16 (bfloat16, rounded stochastically), for Bop's m.
        activation_memory: what is kept from forward to backward: `stock`, every operation's input in floats, or
            `packed`, bits and integers from which backward works the rest out again, exactly.
        test: open the test set once, after the last epoch.
        image_size: side in pixels; None means the paper's for the catalog's sets, native for one's own.
        width: multiplier of every convolutional stage's channels.
        workers: data-parallel workers; each takes its share of `batch_size`.
        threads: CPU threads of one worker. Part of the identity: the order of float sums depends on it.
        device: auto, cpu or cuda.
        data_root, prepared_root: where sources lie and where prepared Arrow files go.
        pretrained: path of the authors' pretrained checkpoint.
        val_fraction: share of train that is held out as validation; 0 trains on all of it.
        check: after every step, check that memory holds what the algorithm says (`trainers.memory.invariants`).

    Raises:
        UserError: a name or number outside what is allowed.
    """

    dataset: str
    model: str
    algorithm: str
    mask_type: str = "EWM"
    scheduler_type: str = "scaled-gaussian"
    temperature: float | None = None
    inertia_bits: int = 0
    anneal: str = "none"
    batch_size: int = 256
    epochs: int = 100
    lr: float = 1e-3
    hid_dim: int = 2048
    depth: int = 4
    xnor: bool = False
    weight_scale: str | None = None
    approx: str = "STE"
    freeze_num: int = 0
    optimizer: str = "SGD"
    bop_threshold: float = 1e-6
    bop_momentum_bits: int = 32
    activation_memory: str = "stock"
    seed: int = 1
    test: bool = False
    image_size: int | None = None
    width: float = 1.0
    workers: int = 1
    threads: int = 1
    device: str = "auto"
    data_root: str = "data"
    prepared_root: str | None = None
    pretrained: str | None = None
    val_fraction: float = 0.1
    check: bool = False

    def __post_init__(self) -> None:
        for name in ("dataset", "data_root", "prepared_root", "pretrained"):
            self._name_or_path(name, optional=name in ("prepared_root", "pretrained"))
        for name in ("xnor", "test", "check"):
            if not isinstance(getattr(self, name), bool):
                raise UserError(f"{name} {getattr(self, name)!r} is not true or false; give one of them")
        one_of("model", self.model, MODELS)
        one_of("algorithm", self.algorithm, ALGORITHMS)
        one_of("mask_type", self.mask_type, MASK_TYPES)
        one_of("scheduler_type", self.scheduler_type, SCHEDULER_TYPES)
        one_of("anneal", self.anneal, ANNEALS)
        if type(self.inertia_bits) is not int or self.inertia_bits not in INERTIA_BITS:
            raise UserError(f"inertia_bits {self.inertia_bits!r} is not offered; use 0, 2, 4 or 8")
        if self.mask_type == "RAND" and self.scheduler_type == "relative":
            raise UserError(
                "scheduler 'relative' divides by the deviation of the gradient, and RAND's temperature is a "
                "probability, whatever the gradient; use EWM or WPM with it, or const with RAND"
            )
        one_of("approx", self.approx, APPROXIMATIONS)
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("activation_memory", self.activation_memory, ACTIVATION_MEMORY)
        if self.bop_momentum_bits not in MOMENTUM_BITS:
            raise UserError(f"bop_momentum_bits {self.bop_momentum_bits!r} is not offered; use 16 or 32")
        one_of("device", self.device, ("auto", "cpu", "cuda"))
        self._positive("lr")
        self._positive("bop_threshold")
        self._positive("width")
        if self.temperature is not None:
            self._positive("temperature")
        for name, least in (
            ("batch_size", 2),
            ("epochs", 1),
            ("hid_dim", 1),
            ("depth", 1),
            ("workers", 1),
            ("threads", 1),
        ):
            self._whole(name, least)
        self._whole("freeze_num", 0)
        self._whole("seed", 0)
        if self.image_size is not None:
            self._whole("image_size", 1)
        fraction = self._number("val_fraction")
        if not 0.0 <= fraction < 1.0:
            raise UserError(f"val_fraction {fraction} is outside 0 <= val_fraction < 1; 0 trains on all of train")
        if self.weight_scale is not None:
            one_of("weight_scale", self.weight_scale, WEIGHT_SCALES)
            if self.xnor and self.weight_scale != "layer":
                raise UserError(
                    f"xnor means weight_scale 'layer', got {self.weight_scale!r} too; give only one of them"
                )
        if self.workers > self.batch_size // 2:
            raise UserError(
                f"{self.workers} workers for batch_size {self.batch_size} leave under 2 images a worker; "
                f"use at most {self.batch_size // 2} workers or a larger batch"
            )
        if self.pretrained is not None and self.model == "MLP":
            raise UserError("pretrained files exist for AdamBNN and BCDNet, not for the MLP; leave pretrained out")
        if self.freeze_num and self.model == "MLP":
            raise UserError(f"freeze_num {self.freeze_num} freezes convolutional blocks; the MLP has none, use 0")

    def _name_or_path(self, name: str, optional: bool) -> None:
        value = getattr(self, name)
        if value is None and optional:
            return
        # Records are lines of UTF-8, which has no surrogates, and NUL ends a path.
        if not isinstance(value, str) or not value or any(unicodedata.category(sign) in ("Cc", "Cs") for sign in value):
            raise UserError(f"{name} {value!r} is not a name or path; give a non-empty text without control characters")

    def _number(self, name: str) -> float:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not -_LARGEST <= value <= _LARGEST:
            raise UserError(f"{name} {value!r} is not a finite number; give one such as 0.1")
        object.__setattr__(self, name, float(value))  # 1 and 1.0 are the same setting, so the same fingerprint
        return float(value)

    def _positive(self, name: str) -> None:
        if self._number(name) <= 0:
            raise UserError(f"{name} {getattr(self, name)} is not positive; give a number above 0")

    def _whole(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise UserError(f"{name} {value!r} is not a whole number of at least {least}")
        if value > LARGEST_WHOLE:
            raise UserError(f"{name} {reprlib.repr(value)} is beyond 64 bits; give at most {LARGEST_WHOLE}")

    @property
    def method(self) -> str:
        """The name a comparison shows: the algorithm, for `real` with its optimizer."""
        return f"real-{self.optimizer}" if self.algorithm == "real" else self.algorithm

    @property
    def scale_kind(self) -> str:
        """The weight scale in force: as given, `layer` for xnor, `channel` for a pretrained file, else `none`."""
        if self.weight_scale is not None:
            return self.weight_scale
        if self.xnor:
            return "layer"
        return "channel" if self.pretrained is not None else "none"

    @property
    def packed(self) -> bool:
        """Whether binary layers keep 1 bit a weight and no latent copy."""
        return self.algorithm != "real"

    def replace(self, **changes: Any) -> "TrialConfig":
        """The same run but for `changes`; validated anew."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """Every field by name, as plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrialConfig":
        """The inverse of `to_dict`; unknown or missing names raise `UserError`."""
        names = [field.name for field in dataclasses.fields(cls)]
        unknown = [str(key) for key in values if key not in names]
        if unknown:
            raise UserError(f"unknown setting {', '.join(unknown)}; use {', '.join(names)}")
        missing = [name for name in ("dataset", "model", "algorithm") if name not in values]
        if missing:
            raise UserError(f"{', '.join(missing)} missing; a run needs dataset, model and algorithm")
        return cls(**dict(values))

    def fingerprint(self) -> str:
        """A hex digest of everything that decides the trained weights (32 characters)."""
        settings = self.to_dict()
        left_out = {*_NOT_IDENTITY, *(name for name, default in _LATER.items() if settings[name] == default)}
        identity = {name: value for name, value in settings.items() if name not in left_out}
        return hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()[:32]


def learning_rates(model: str, lr: float, step_batch: int) -> tuple[float, float]:
    """`(real parameters' rate, binary layers' rate u)` of one step (algorithm section 5).

    c = sqrt(B/96) with B the global batch of this very step: the last, smaller batch of an epoch has a smaller one.
    AdamBNN and BCDNet: lr·c and 0.1·lr·c; MLP: lr·c for both.
    """
    rate = lr * math.sqrt(step_batch / 96)
    return rate, rate if model == "MLP" else 0.1 * rate
