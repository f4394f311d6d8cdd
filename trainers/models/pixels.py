"""Rows of pixels: how the fused residual units see a batch of images, channels side by side."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Pixels:
    """Rows of pixels (N·H·W, C) with the shape of the images that they are of."""

    rows: Tensor
    images: int
    high: int
    wide: int

    @classmethod
    def of(cls, x: Tensor) -> "Pixels":
        """(N, C, H, W), copied only where its channels are not last already."""
        images, channels, high, wide = x.shape
        last = x.permute(0, 2, 3, 1).contiguous()
        return cls(last.view(-1, channels), images, high, wide)

    def planes(self) -> Tensor:
        """The same memory as (N, C, H, W), channels last."""
        return self.rows.view(self.images, self.high, self.wide, -1).permute(0, 3, 1, 2)

    def of_rows(self, rows: Tensor) -> "Pixels":
        """Other channels of the same images."""
        return Pixels(rows, self.images, self.high, self.wide)

    def part(self, images: slice) -> "Pixels":
        """Some of the images."""
        area = self.high * self.wide
        first, last, _ = images.indices(self.images)
        return Pixels(self.rows[first * area : last * area], last - first, self.high, self.wide)
