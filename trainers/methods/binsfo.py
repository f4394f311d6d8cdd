"""BinSFO: binary weights change by Boolean flips, with no real-valued copy of them.

For every binary layer, at every step: T from the scheduler (which then takes sigma(g)); each weight is masked with
probability p(w, g, T); a masked weight becomes -sgn(g). State: 1 bit a weight plus the accumulator.
Source: ICASSP 2025 (algorithm, section 2).

With inertia a mask no longer flips: it is an event that a counter of a few bits a weight takes note of
(`trainers.methods.inertia`).
"""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from trainers.binary.kernels import flips as fused
from trainers.binary.kernels.flips import Event, channel_moments
from trainers.binary.weights import PackedWeight
from trainers.config import TrialConfig
from trainers.errors import UserError
from trainers.method import Look, Method, PackedNumbers, SimulatedCurve
from trainers.methods.contract import LayerRule
from trainers.methods.inertia import INERTIA_BITS, Inertia
from trainers.methods.masks import MASK_TYPES, event_probability, flip_probability, masked_update
from trainers.methods.temperature import ANNEAL, SCHEDULER_TYPES, LayerDeviation, TemperatureScheduler
from trainers.settings import Setting


class BinsfoLayer(LayerRule):
    """BinSFO on one layer.

    Args:
        config: mask type, scheduler, temperature, bits of the counters and seed are read.
        name: the layer's name, which seeds its masks together with the run's seed and the step.
        latent: the layer's real weights before they are packed; their standard deviation starts the accumulator.
    """

    def __init__(self, config: TrialConfig, name: str, latent: Tensor, pretrained: bool = False) -> None:
        super().__init__(config, name, latent, pretrained)
        self.mask_type = config.mask_type
        start = (
            {"accumulator": float(latent.std())} if config.temperature is None else {"temperature": config.temperature}
        )
        self.scheduler = TemperatureScheduler(config.scheduler_type, **start)
        self.inertia = Inertia(latent.shape, config.inertia_bits, latent.device) if config.inertia_bits else None
        self._temperature: float | Tensor | None = None
        self._deviation = LayerDeviation(latent.shape)
        self._annealing = 1.0

    def start(self, rate: float, step: int, annealing: float = 1.0) -> None:
        super().start(rate, step, annealing)
        self._annealing = annealing
        # T needs the steps before this one only, so flips need not wait for sigma(g), which sums up as blocks pass.
        self._temperature = None if self.scheduler.needs_gradient else self._annealed()

    def _annealed(self) -> float | Tensor:
        return self.scheduler.temperature(self.rate) * self._annealing

    def looks_first(self) -> bool:
        return self.scheduler.needs_gradient

    def look(self, grad: Tensor) -> None:
        self._deviation.add(channel_moments(grad))

    def flip(self, rows: slice, store: PackedWeight, grad: Tensor) -> int | Tensor:
        if not fused.takes(grad):
            return super().flip(rows, store, grad)
        counters = None if self.inertia is None else self.inertia.counters[rows]
        flips, moments = fused.flip_channels(
            store.bits[rows], grad, rows.start, self._event(), counters, self.config.inertia_bits
        )
        self._deviation.add(moments)
        return flips

    def update(self, rows: slice, positive: Tensor, grad: Tensor) -> Tensor:
        event = self._event()
        temperature = float(event.temperature)
        self._deviation.add(channel_moments(grad))
        if self.inertia is not None:
            probability = event_probability(self.mask_type, grad, temperature)
            return self.inertia.update(rows, positive, grad, self._drawn(probability, rows))
        weight = positive.to(grad.dtype).mul_(2).sub_(1)
        probability = flip_probability(self.mask_type, grad, weight, temperature)
        return masked_update(positive, grad, self._drawn(probability, rows))

    def _event(self) -> Event:
        """What decides this step's masks, as `update` and the fused flip both read it."""
        if self._temperature is None:  # every block has been looked at
            self.finish()
            self._temperature = self._annealed()
        return Event(self.mask_type, self._temperature, self.key, self.step)

    def _drawn(self, probability: Tensor, rows: slice) -> Tensor:
        """True with this probability, by this step's draws."""
        if self.mask_type == "WPM":  # 0 or 1: nothing to draw
            return probability > 0
        return self.uniform(rows, probability) < probability

    def finish(self) -> None:
        self.scheduler.accumulate(self.rate, self._deviation.take())

    def temperature(self) -> float | Tensor | None:
        return self._temperature

    def tensors(self) -> dict[str, Tensor]:
        return {} if self.inertia is None else {"counters": self.inertia.counters}

    def packed_numbers(self) -> dict[str, PackedNumbers]:
        return {} if self.inertia is None else {"counters": self.inertia.packed}

    def scalars(self) -> dict[str, float | None]:
        return self.scheduler.state()

    def load_scalars(self, values: dict[str, float | None]) -> None:
        self.scheduler.load_state(values)


def _check(config: TrialConfig) -> None:
    if config.mask_type == "RAND" and config.scheduler_type == "relative":
        raise UserError(
            "scheduler 'relative' divides by the deviation of the gradient, and RAND's temperature is a "
            "probability, whatever the gradient; use EWM or WPM with it, or const with RAND"
        )


def _follows_lr(settings: Mapping[str, Any]) -> bool:
    """A given temperature cancels the learning rate out of every later one."""
    return settings.get("temperature") is None


def _describe(config: TrialConfig) -> str:
    words = [config.mask_type, config.scheduler_type]
    if config.inertia_bits:
        words.append(f"{config.inertia_bits}-bit counters")
    if config.anneal != "none":
        words.append(config.anneal)
    if config.temperature is not None:
        words.append(f"T={config.temperature:.3g}")
    if _follows_lr(config.to_dict()) or config.lr_trains_real:
        words.append(f"lr={config.lr:.3g}")
    return " ".join(words)


def _optimum(config: TrialConfig) -> list[tuple[float, float]]:
    steered = []
    if config.temperature is not None:
        usual = 0.3 if config.scheduler_type == "relative" else 300.0
        steered.append((config.temperature, 1e-3 if config.mask_type == "RAND" else usual))
    if config.lr_trains_real:
        steered.append((config.lr, 1e-2))
    elif config.temperature is None:
        steered.append((config.lr, 1.0))
    return steered


def _factors(config: TrialConfig) -> tuple[float, ...]:
    by_mask = {"EWM": 1.0, "WPM": 0.98, "RAND": 0.95}
    return by_mask[config.mask_type], {"const": 0.97, "gaussian": 0.99}.get(config.scheduler_type, 1.0)


METHOD = Method(
    name="binary",
    help="BinSFO: Boolean flips drawn by a hypermask",
    layer_rule=BinsfoLayer,
    settings=(
        Setting(
            "mask_type",
            str,
            f"BinSFO's hypermask: {', '.join(MASK_TYPES)}",
            "EWM",
            choices=MASK_TYPES,
            short="mask",
            shown=True,
            memory="slight",
            ablatable=True,
            since=1,
        ),
        Setting(
            "scheduler_type",
            str,
            f"BinSFO's temperature scheduler: {', '.join(SCHEDULER_TYPES)}",
            "scaled-gaussian",
            choices=SCHEDULER_TYPES,
            short="scheduler",
            shown=True,
            memory="slight",
            ablatable=True,
            since=1,
        ),
        Setting(
            "temperature",
            float,
            "BinSFO's T0, the temperature of the very first step (with relative, what is divided by the deviation of a "
            "layer's gradient); without it the learning rate sets the temperature, as in the paper",
            None,
            "nuisance",
            above=0,
            short="T",
            since=1,
        ),
        Setting(
            "inertia_bits",
            int,
            "of each weight's counter under BinSFO: 2, 3, 4 or 8, or 0 for the paper's rule",
            0,
            choices=INERTIA_BITS,
            short="counter bits",
            memory="other",
            offered=True,
            ablatable=True,
            since=2,
            before=0,
        ),
        ANNEAL,
    ),
    check=_check,
    describe=_describe,
    follows_lr=_follows_lr,
    state_bits=lambda config: 1 + config.inertia_bits,
    simulated=SimulatedCurve({"binary": 0.93}, _optimum, _factors),
    looks={"binary": Look("#0072B2", "o")},
    title="BinSFO",
)
