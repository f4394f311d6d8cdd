"""BinSFO: binary weights change by Boolean flips, with no real-valued copy of them.

For every binary layer, at every step: T from the scheduler (which then takes sigma(g)); each weight is masked with
probability p(w, g, T); a masked weight becomes -sgn(g). State: 1 bit a weight plus the accumulator.
Source: ICASSP 2025 (algorithm, section 2).

With inertia a mask no longer flips: it is an event that a counter of a few bits a weight takes note of
(`trainers.methods.inertia`).
"""

import torch
from torch import Tensor

from trainers.config import TrialConfig
from trainers.methods.contract import LayerRule
from trainers.methods.draws import generator
from trainers.methods.inertia import SMALLEST_DRAW, Inertia
from trainers.methods.masks import event_probability, flip_probability, masked_update
from trainers.methods.temperature import RunningDeviation, TemperatureScheduler


class BinsfoLayer(LayerRule):
    """BinSFO on one layer.

    Args:
        config: mask type, scheduler, temperature, bits of the counters and seed are read.
        name: the layer's name, which seeds its masks together with the run's seed and the step.
        latent: the layer's real weights before they are packed; their standard deviation starts the accumulator.
    """

    def __init__(self, config: TrialConfig, name: str, latent: Tensor) -> None:
        self.mask_type = config.mask_type
        self.seed = config.seed
        self.name = name
        start = (
            {"accumulator": float(latent.std())} if config.temperature is None else {"temperature": config.temperature}
        )
        self.scheduler = TemperatureScheduler(config.scheduler_type, **start)
        self.inertia = Inertia(latent.shape, config.inertia_bits, latent.device) if config.inertia_bits else None
        self._temperature: float | None = None
        self._deviation = RunningDeviation()
        self._generator: torch.Generator | None = None
        self._rate, self._step, self._annealing = 0.0, 0, 1.0

    def start(self, rate: float, step: int, annealing: float = 1.0) -> None:
        self._rate, self._step, self._annealing = rate, step, annealing
        self._generator = None
        # T needs the steps before this one only, so flips need not wait for sigma(g), which sums up as blocks pass.
        self._temperature = None if self.scheduler.needs_gradient else self._annealed()

    def _annealed(self) -> float:
        return self.scheduler.temperature(self._rate) * self._annealing

    def looks_first(self) -> bool:
        return self.scheduler.needs_gradient

    def look(self, grad: Tensor) -> None:
        self._deviation.add(grad)

    def update(self, rows: slice, positive: Tensor, grad: Tensor) -> Tensor:
        if self._temperature is None:  # every block has been looked at
            self.finish()
            self._temperature = self._annealed()
        self._deviation.add(grad)
        if self.inertia is not None:
            event = self._drawn(event_probability(self.mask_type, grad, self._temperature), SMALLEST_DRAW)
            return self.inertia.update(rows, positive, grad, event)
        weight = positive.to(grad.dtype).mul_(2).sub_(1)
        mask = self._drawn(flip_probability(self.mask_type, grad, weight, self._temperature))
        return masked_update(positive, grad, mask)

    def _drawn(self, probability: Tensor, smallest: float = 0.0) -> Tensor:
        """True with this probability, by the next draws in [0, 1) of this layer and step, one a weight.

        Args:
            smallest: what a smaller draw counts as.
        """
        if self.mask_type == "WPM":  # 0 or 1: nothing to draw
            return probability > 0
        if self._generator is None:
            self._generator = generator(probability.device, self.seed, self.name, self._step)
        uniform = torch.rand(probability.shape, generator=self._generator, device=probability.device)
        if smallest:
            uniform.clamp_(min=smallest)
        return uniform < probability

    def finish(self) -> None:
        self.scheduler.accumulate(self._rate, self._deviation.value())
        self._deviation = RunningDeviation()  # nothing of this step's is kept

    def temperature(self) -> float | None:
        return self._temperature

    def tensors(self) -> dict[str, Tensor]:
        return {} if self.inertia is None else {"counters": self.inertia.counters}

    def scalars(self) -> dict[str, float | None]:
        return self.scheduler.state()

    def load_scalars(self, values: dict[str, float | None]) -> None:
        self.scheduler.load_state(values)
