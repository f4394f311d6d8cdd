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
from trainers.update_rules.temperature import TemperatureScheduler


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

    def start(self, grad: Tensor, rate: float, step: int) -> None:
        self._temperature = self.scheduler.step(rate, float(grad.std()))
        self._generator = generator(grad.device, self.seed, self.name, step)

    def update(self, rows: slice, positive: Tensor, grad: Tensor) -> Tensor:
        assert self._temperature is not None
        weight = positive.to(grad.dtype).mul_(2).sub_(1)
        probability = flip_probability(self.mask_type, grad, weight, self._temperature)
        if self.mask_type == "WPM":  # 0 or 1: nothing to draw
            mask = probability > 0
        else:
            mask = torch.rand(grad.shape, generator=self._generator, device=grad.device) < probability
        return masked_update(positive, grad, mask)

    def temperature(self) -> float | None:
        return self._temperature

    def scalars(self) -> dict[str, float | None]:
        return {"accumulator": self.scheduler.accumulator}

    def load_scalars(self, values: dict[str, float | None]) -> None:
        self.scheduler.accumulator = values["accumulator"]
