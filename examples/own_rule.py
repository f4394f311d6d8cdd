"""A rule of your own in one file: a weight flips where its gradient asks for it and stands out in its output channel.

python -m study run examples/own_rule.yaml --plugin examples/own_rule.py
"""

import torch

from trainers.methods import LayerRule, Look, Method, Range, Setting


class LargestFirst(LayerRule):
    """Flip where w·g > 0 and |g| > threshold · sigma, its channel's deviation: one bit of state, and no draw."""

    def update(self, rows: slice, positive: torch.Tensor, grad: torch.Tensor) -> torch.Tensor:
        sigma = grad.flatten(1).std(dim=1).view(-1, *[1] * (grad.dim() - 1))
        return positive ^ (((grad > 0) == positive) & (grad.abs() > self.config.flip_threshold * sigma))


METHOD = Method(
    name="largest",
    help="flips the weights whose gradients are the largest of their channel",
    layer_rule=LargestFirst,
    settings=(Setting("flip_threshold", float, "in deviations of a channel's gradient", 3.0, "nuisance", above=0),),
    space={"flip_threshold": Range(1.0, 6.0)},
    follows_lr=lambda settings: False,
    looks={"largest": Look("#E69F00", "P")},
)
