"""BinSFO: binary weights change by Boolean flips, with no real-valued copy of them.

For every binary layer, at every step: T from the scheduler (which then takes sigma(g)); each weight is masked with
probability p(w, g, T); a masked weight becomes -sgn(g). State: 1 bit a weight plus the accumulator.
Source: ICASSP 2025 (algorithm, section 2).
"""

import torch
from torch import Tensor

from trainers.config import TrialConfig
from trainers.update_rules.contract import LayerRule
from trainers.update_rules.draws import generator
from trainers.update_rules.masks import flip_probability, masked_update
from trainers.update_rules.temperature import RunningDeviation, TemperatureScheduler


class BinsfoLayer(LayerRule):
    """BinSFO on one layer.

    Args:
        config: mask type, scheduler, temperature and seed are read.
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
        self._temperature: float | None = None
        self._deviation = RunningDeviation()
        self._generator: torch.Generator | None = None
        self._rate, self._step = 0.0, 0

    def start(self, rate: float, step: int) -> None:
        # T needs the steps before this one only, so flips need not wait for sigma(g), which sums up as blocks pass.
        self._rate, self._step = rate, step
        self._temperature = self.scheduler.temperature(rate)
        self._generator = None

    def update(self, rows: slice, positive: Tensor, grad: Tensor) -> Tensor:
        assert self._temperature is not None
        self._deviation.add(grad)
        weight = positive.to(grad.dtype).mul_(2).sub_(1)
        probability = flip_probability(self.mask_type, grad, weight, self._temperature)
        if self.mask_type == "WPM":  # 0 or 1: nothing to draw
            mask = probability > 0
        else:
            mask = self._uniform(grad) < probability
        return masked_update(positive, grad, mask)

    def _uniform(self, like: Tensor) -> Tensor:
        """The next draws in [0, 1) of this layer and step, one a weight."""
        if self._generator is None:
            self._generator = generator(like.device, self.seed, self.name, self._step)
        return torch.rand(like.shape, generator=self._generator, device=like.device)

    def finish(self) -> None:
        self.scheduler.accumulate(self._rate, self._deviation.value())
        self._deviation = RunningDeviation()  # nothing of this step's is kept

    def temperature(self) -> float | None:
        return self._temperature

    def scalars(self) -> dict[str, float | None]:
        return {"accumulator": self.scheduler.accumulator}

    def load_scalars(self, values: dict[str, float | None]) -> None:
        self.scheduler.accumulator = values["accumulator"]
