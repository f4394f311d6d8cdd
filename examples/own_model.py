"""A network of your own in one file: a small residual network of binary convolutions, trained by every method.

python -m study run examples/own_model.yaml --plugin examples/own_model.py
"""

from torch import Tensor, nn

from trainers.binary.layers import BinaryConv2d, SignActivation
from trainers.model import Model
from trainers.models.recompute import PackedBlock
from trainers.settings import Setting


class Residual(PackedBlock):
    def __init__(self, channels: int, approx: str) -> None:
        super().__init__()
        self.sign, self.conv = SignActivation(approx), BinaryConv2d(channels, channels, kernel_size=3)
        self.norm, self.act = nn.BatchNorm2d(channels), nn.PReLU(channels)

    def compute(self, x: Tensor) -> Tensor:
        return self.act(self.norm(self.conv(self.sign(x))) + x)


class TinyResNet(nn.Sequential):
    def __init__(self, num_classes: int, in_channels: int, blocks: int = 2, channels: int = 16, approx: str = "STE"):
        stem = [nn.Conv2d(in_channels, channels, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(channels)]
        trunk = [Residual(channels, approx) for _ in range(blocks)]
        super().__init__(*stem, *trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes))


blocks = Setting("blocks", int, "residual blocks", 2, "workload", least=1, memory="more")
channels = Setting("channels", int, "of every block", 16, "workload", least=1, memory="more")
MODEL = Model("TinyResNet", "a small residual network", TinyResNet, settings=(blocks, channels))
