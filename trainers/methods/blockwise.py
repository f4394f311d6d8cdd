"""Moments in 8 bits: blocks of entries, each with a scale of its own, rounded stochastically.

An entry x of a block whose largest magnitude is S is kept as a code of 8 bits, by one of two maps:

    signed   q = 127·x/S in -127 .. 127            of a first moment
    root     q = 255·(x/S)^(1/4) in 0 .. 255       of a second moment, whose entries span decades

A moving average moves by a small share of itself a step, which rounding to nearest would lose; stochastic rounding of q
keeps it on average, and a root of more than 0 is never rounded to 0. Blocks lie within an output channel, so that any
division of a layer into channels gives the same codes.

Source: Dettmers et al., *8-bit Optimizers via Block-wise Quantization*, ICLR 2022, whose codes are those of a dynamic
tree, rounded to nearest. Not their library's: an optimizer there takes a parameter's whole gradient after backward,
while a rule here is given it block by block, and keeps what goes on from a checkpoint to the same bits.
"""

import torch
from torch import Tensor

BLOCK = 256
"""Entries that share a scale, at most; the last block of a channel may have fewer."""


class Moments:
    """A moment of each weight of a layer, in 8 bits.

    Args:
        shape: of the layer's weight (out, ...), n weights an output channel.
        device: where they lie.
        root: whether they are kept as roots, else signed.

    Attributes:
        codes: q in the weight's shape, int8 or, of roots, uint8.
        scales: S, float32 (out, ceil(n/BLOCK)).
    """

    def __init__(self, shape: torch.Size, device: torch.device, root: bool = False) -> None:
        self.root = root
        self.codes = torch.zeros(shape, dtype=torch.uint8 if root else torch.int8, device=device)
        blocks = -(-shape[1:].numel() // BLOCK)
        self.scales = torch.zeros(shape[0], blocks, dtype=torch.float32, device=device)

    def read(self, rows: slice) -> Tensor:
        """The moments of some output channels, float32 (rows, ...)."""
        codes = self.codes[rows].float()
        share = codes.div_(255).square_().square_() if self.root else codes.div_(127)
        return share.mul_(self._spread(self.scales[rows], share))

    def write(self, rows: slice, values: Tensor, draws: Tensor) -> None:
        """Keep new moments of some output channels.

        Args:
            rows: which.
            values: float32 (rows, ...), of roots none below 0.
            draws: uniform in [0, 1), of its shape: how each is rounded.
        """
        flat = values.flatten(1).abs()
        padded = torch.nn.functional.pad(flat, (0, self.scales.shape[1] * BLOCK - flat.shape[1]))
        scales = padded.view(len(flat), -1, BLOCK).amax(dim=2)
        self.scales[rows] = scales
        # A block of zeros has no share to take; any scale gives it zeros.
        share = values / self._spread(torch.where(scales > 0, scales, 1.0), values)
        if self.root:
            least = (share > 0).float()
            codes = share.clamp_(min=0).sqrt_().sqrt_().mul_(255).add_(draws).floor_().clamp_(max=255)
            self.codes[rows] = torch.maximum(codes, least).to(torch.uint8)
        else:
            self.codes[rows] = share.mul_(127).add_(draws).floor_().clamp_(-127, 127).to(torch.int8)

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Both tensors by name, as a rule's state."""
        return {name: self.codes, f"{name}_scales": self.scales}

    @staticmethod
    def _spread(scales: Tensor, like: Tensor) -> Tensor:
        """Each entry's scale, in the shape of `like` (rows, ...)."""
        return scales.repeat_interleave(BLOCK, dim=1)[:, : like[0].numel()].reshape(like.shape)
