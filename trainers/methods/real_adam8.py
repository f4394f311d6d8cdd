"""Adam on latent weights with both moments in 8 bits, a layer's gradient taken block by block.

    m <- 0.9·m + 0.1·g     v <- 0.999·v + 0.001·g²     each in 8 bits, block-wise (`trainers.methods.blockwise`)
    h <- h - a·m^ / (sqrt(v^) + 1e-8),    m^ = m / (1 - 0.9^(t+1)),  v^ = v / (1 - 0.999^(t+1));    w = sgn(h)

with g = 0 where |h| > 1 (straight-through), and a = lr·(1 + cos(pi·t/t_max))/2: real-Adam with a third of the moments'
memory, and without a gradient as large as a layer. The latent weight h stays a 32-bit float. State: 1 bit of w, 32 of
h, 8 and 8 of the moments; 32 and 32 for each block of 256. A weight scale stays what it was when the layer was packed.
Sources: Kingma and Ba, *Adam*, ICLR 2015; Dettmers et al., *8-bit Optimizers*, ICLR 2022.
"""

from torch import Tensor

from trainers.binary.kernels.philox import ROUNDING
from trainers.config import TrialConfig
from trainers.method import LATENT_ADAM, LATENT_ADAM_FINE_TUNING, Look, Method, SimulatedCurve, fine_tunes
from trainers.methods.blockwise import Moments
from trainers.methods.contract import LayerRule

BETAS, EPSILON = (0.9, 0.999), 1e-8


class Adam8Layer(LayerRule):
    """The rule on one layer; arguments as of `LayerRule`.

    Attributes:
        latent: h, float32 in the weight's shape.
        first, second: m and v.
    """

    course = "cosine"

    def __init__(self, config: TrialConfig, name: str, latent: Tensor, pretrained: bool = False) -> None:
        super().__init__(config, name, latent, pretrained)
        self.latent = latent.detach().clone()
        self.first, self.second = Moments(latent.shape, latent.device), Moments(latent.shape, latent.device, root=True)

    def start(self, rate: float, step: int, annealing: float = 1.0) -> None:
        super().start(self.config.lr * annealing, step)  # Adam's steps have the learning rate's size in any layer

    def update(self, rows: slice, positive: Tensor, grad: Tensor) -> Tensor:
        h = self.latent[rows]
        grad = grad * (h.abs() <= 1)
        m = self.first.read(rows).mul_(BETAS[0]).add_(grad, alpha=1 - BETAS[0])
        v = self.second.read(rows).mul_(BETAS[1]).addcmul_(grad, grad, value=1 - BETAS[1])
        corrections = [1 - beta ** (self.step + 1) for beta in BETAS]
        deviation = (v / corrections[1]).sqrt_().add_(EPSILON)
        h.addcdiv_(m, deviation, value=-self.rate / corrections[0])
        words = self.words(rows, grad, ROUNDING)
        self.first.write(rows, m, _half(words >> 16))
        self.second.write(rows, v, _half(words))
        return h >= 0

    def tensors(self) -> dict[str, Tensor]:
        return {"latent": self.latent, **self.first.tensors("first"), **self.second.tensors("second")}


def _half(words: Tensor) -> Tensor:
    """The lower 16 of each word's random bits as a number in [0, 1)."""
    return (words & 0xFFFF).float().mul_(2.0**-16)


METHOD = Method(
    name="real_adam8",
    help="Adam on latent weights, its moments in 8 bits",
    layer_rule=Adam8Layer,
    space=lambda model, fixed: {"lr": LATENT_ADAM_FINE_TUNING if fine_tunes(fixed) else LATENT_ADAM},
    describe=lambda config: f"lr={config.lr:.3g}",
    state_bits=lambda config: 49,
    simulated=SimulatedCurve({"real_adam8": 0.965}, lambda config: [(config.lr, 1e-3)]),
    looks={"real_adam8": Look("#7B3294", "d")},
)
