"""The temperature of one binary layer: how it starts, how gradients cool it, and how it is annealed.

The accumulator a estimates the standard deviation that the layer's latent weights would have by now, had SGD trained
them: it grows with every step's gradient, and the temperature falls with it. Source: the ICASSP 2025 paper
(algorithm, section 4). `relative` is not of the paper: it measures a gradient by the deviation of its own layer's, so
that one temperature means the same in every layer and at every step.
"""

import math

import torch
from torch import Tensor

from trainers.errors import UserError
from trainers.settings import Setting, one_of

SCHEDULER_TYPES = ("const", "gaussian", "scaled-gaussian", "relative")
ANNEALS = ("none", "cosine")
ANNEAL = Setting(
    "anneal",
    str,
    f"course of temperatures, or of the step where there is none, over the run: {', '.join(ANNEALS)}",
    "none",
    choices=ANNEALS,
    ablatable=True,
    since=2,
    before="none",
)


def annealing(kind: str, step: int, steps: int | None) -> float:
    """What the temperatures of step t = 0, 1, ... of t_max are multiplied by.

    none: 1. cosine: 0.5·(1 + cos(pi·t/t_max)), 1 at first and towards 0 at the end (Loshchilov and Hutter, *SGDR*,
    ICLR 2017). Without an end (t_max None: steps that belong to no run) nothing is annealed.

    Raises:
        UserError: `kind` is unknown.
    """
    one_of("anneal", kind, ANNEALS)
    if kind == "none" or steps is None:
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0)))


class TemperatureScheduler:
    """T at each step, and the accumulator behind it.

    | scheduler | T at this step | then |
    | --- | --- | --- |
    | const | u | a unchanged |
    | gaussian | u / (sqrt(2)·a) | a <- sqrt(a^2 + (u·sigma(g))^2) |
    | scaled-gaussian | u·sqrt(pi) / (2·a^2) | a <- sqrt(a^2 + (pi/2)·u^2·(sigma(g)/a)^2) |
    | relative | u / sigma(g) | a unchanged |

    `step` is this table. Where a layer's gradient lives only block by block, `relative` has no sigma(g) yet when the
    first block comes. There (`temperature`, then `accumulate`) it takes the sigma(g) of the step before, which differs
    from this one's by about a tenth; the first step's is its own. A sigma(g) of 0 gives T = 0: nothing happens.

    Args:
        scheduler_type: const, gaussian or scaled-gaussian.
        accumulator: a0, the standard deviation of the layer's real weights before they were binarized ("coupled": the
            learning rate sets the temperature).
        temperature: T0, the temperature of the first step ("decoupled"): const then uses T0 throughout, the others
            start from the a that gives T0; relative uses T0 in u's place. Exactly one of accumulator and temperature.

    Attributes:
        deviation: of `relative`, the sigma(g) that the next temperature divides by; None where none is known yet.

    Raises:
        UserError: an unknown scheduler, both or neither start, or one that is not positive and finite.
    """

    def __init__(self, scheduler_type: str, accumulator: float | None = None, temperature: float | None = None) -> None:
        one_of("scheduler_type", scheduler_type, SCHEDULER_TYPES)
        if (accumulator is None) == (temperature is None):
            raise UserError(f"got accumulator {accumulator} and temperature {temperature}; give exactly one of them")
        for name, value in (("accumulator", accumulator), ("temperature", temperature)):
            if value is not None and not (math.isfinite(value) and value > 0):
                raise UserError(f"{name} {value} is not positive and finite; give the layer's weight deviation or a T0")
        self.scheduler_type = scheduler_type
        self.accumulator: float | Tensor | None = accumulator
        self.initial_temperature = temperature
        self.deviation: float | Tensor | None = None

    @property
    def needs_gradient(self) -> bool:
        """Whether there is no temperature before `accumulate` has had a gradient."""
        return self.scheduler_type == "relative" and self.deviation is None

    def step(self, lr: float, grad_std: float | Tensor) -> float | Tensor:
        """The temperature to use now; then the accumulator takes this step's gradient.

        Args:
            lr: u, the learning rate of the binary layer at this step.
            grad_std: sigma(g), the unbiased standard deviation over all entries of the layer's gradient.
        """
        if self.scheduler_type == "relative":
            self.accumulate(lr, grad_std)
            return self.temperature(lr)
        temperature = self.temperature(lr)
        self.accumulate(lr, grad_std)
        return temperature

    def temperature(self, lr: float) -> float | Tensor:
        """T at this step: the first half of `step`."""
        if self.scheduler_type in ("const", "relative"):
            numerator = lr if self.initial_temperature is None else self.initial_temperature
            if self.scheduler_type == "const":
                return numerator
            assert self.deviation is not None, "the gradient comes before the temperature"
            if isinstance(self.deviation, Tensor):
                return torch.where(self.deviation > 0, numerator / self.deviation, 0.0)
            return numerator / self.deviation if self.deviation > 0 else 0.0
        if self.accumulator is None:
            assert self.initial_temperature is not None
            self.accumulator = self._accumulator_for(self.initial_temperature, lr)
        if self.scheduler_type == "gaussian":
            return lr / (math.sqrt(2) * self.accumulator)
        return lr * math.sqrt(math.pi) / (2 * self.accumulator**2)

    def accumulate(self, lr: float, grad_std: float | Tensor) -> None:
        """Take this step's gradient into the accumulator: the second half of `step`."""
        if self.scheduler_type == "const":
            return
        if self.scheduler_type == "relative":
            self.deviation = grad_std
            return
        assert self.accumulator is not None, "the temperature comes before the gradient"
        a = self.accumulator
        if self.scheduler_type == "gaussian":
            self.accumulator = _sqrt(a**2 + (lr * grad_std) ** 2)
        else:
            self.accumulator = _sqrt(a**2 + (math.pi / 2) * lr**2 * (grad_std / a) ** 2)

    def state(self) -> dict[str, float | None]:
        """What the next temperature follows from."""
        if self.scheduler_type == "relative":
            return {"deviation": _number(self.deviation)}
        return {"accumulator": _number(self.accumulator)}

    def load_state(self, values: dict[str, float | None]) -> None:
        """The inverse of `state`."""
        for name in self.state():
            setattr(self, name, values[name])

    def _accumulator_for(self, temperature: float, lr: float) -> float:
        """The a from which the first step's temperature is T0."""
        if self.scheduler_type == "gaussian":
            return lr / (math.sqrt(2) * temperature)
        return math.sqrt(lr * math.sqrt(math.pi) / (2 * temperature))


class LayerDeviation:
    """sigma(g) of a layer whose gradient comes in blocks of output channels, from its channels' moments.

    With n entries in each of the channels c, and m the mean of all,

        sigma^2 = (sum_c M2_c + n·sum_c (mean_c - m)^2) / (entries - 1),

    in float64, channel by channel and then over all: the same to the last bit for any division into blocks.

    Args:
        shape: of the layer's weight (out, ...).
    """

    def __init__(self, shape: torch.Size) -> None:
        self.shape = shape
        self._blocks: list[Tensor] = []

    def add(self, moments: Tensor) -> None:
        """Take a block's `channel_moments` (`trainers.binary.kernels.flips`), the blocks in order."""
        self._blocks.append(moments)

    def take(self) -> float | Tensor:
        """sigma(g), unbiased, once all channels have come (on a GPU it stays there); the next step's begin anew."""
        mean, squares = torch.cat(self._blocks).unbind(dim=1)
        self._blocks = []
        between = (mean - mean.mean()).square().sum() * self.shape[1:].numel()
        variance = (squares.sum() + between).clamp(min=0) / (self.shape.numel() - 1)
        return variance.sqrt() if variance.device.type == "cuda" else math.sqrt(float(variance))


def _number(value: float | Tensor | None) -> float | None:
    return float(value) if isinstance(value, Tensor) else value


def _sqrt(value: float | Tensor) -> float | Tensor:
    return value.sqrt() if isinstance(value, Tensor) else math.sqrt(value)
