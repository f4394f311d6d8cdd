"""What a model is: one object, in one file, that says all there is to know of a network.

A model is made known by standing as `MODEL` in a module of `trainers.models`, by an installed package's entry point
`binsfo_study.models`, or by a plug-in file that the command line names (`trainers.plugins`).
"""

import inspect
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from trainers.errors import UserError
from trainers.settings import Setting

Network = Any
"""A `torch.nn.Module`; this module is read by what has no use for torch."""


@dataclass(frozen=True)
class Normalisation:
    """What a network takes in place of a data set's own: pixels, from 0 to 1, less `mean` and divided by `std`.

    Attributes:
        mean, std: one a channel.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True)
class Mxnet:
    """How a network that MXNet saved becomes ours.

    Attributes:
        own_name: what a layer is called here, from its name there and whether it is binary.
        eps: of our batch norms, which the file's must have.
    """

    own_name: Callable[[str, bool], str]
    eps: float


@dataclass(frozen=True)
class Pretrained:
    """How a model's published files are read.

    Attributes:
        heads: how the names of a file's tensors begin whose place our own head takes.
        keeps_head: whether a head of as many outputs as there are classes is taken over.
        variant: the settings under which a network has tensors of these names, to say so where a file is another's.
        mxnet: how `.params` files are read; None where there are none.
    """

    heads: tuple[str, ...]
    keeps_head: bool = False
    variant: Callable[[Collection[str]], Mapping[str, str]] = lambda names: {}
    mxnet: Mxnet | None = None


@dataclass(frozen=True)
class Model:
    """One network.

    Args:
        name: as the command line and study files name it: letters, digits and underscores.
        help: what it is, in a line.
        build: makes it with latent weights: `build(num_classes, **options)`, where the options are those of `settings`,
            of `image_options` and, where it takes one, `approx`, the gradient surrogate of its signs.
        settings: its own options, which a configuration holds.
        image_options: the options that the image decides, from its channels and its side in pixels.
        takes: whether it takes square images of a side of so many pixels.
        sides: which sides it takes, in words, and the two nearest to one that it does not take.
        binary_rate: by what the learning rate of its binary layers is multiplied.
        real_parameters: whether it has real parameters that learn beside its binary weights.
        normalisation: what its images are normalised by where they have as many channels; None: as the data set says.
        pretrained: how published files of it load; None where there are none.
        recognises: whether the names of a file's tensors are those of this model, to say so where another was meant.
    """

    name: str
    help: str
    build: Callable[..., Network]
    settings: tuple[Setting, ...] = ()
    image_options: Callable[[int, int], Mapping[str, int]] = lambda channels, side: {"in_channels": channels}
    takes: Callable[[int], bool] = lambda side: True
    sides: Callable[[int], str] = lambda side: ""
    binary_rate: float = 0.1
    real_parameters: bool = True
    normalisation: Normalisation | None = None
    pretrained: Pretrained | None = None
    recognises: Callable[[Collection[str]], bool] = lambda names: False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]{0,29}", self.name):
            raise UserError(f"model name {self.name!r} cannot be used; take a letter, then letters, digits and _")

    @property
    def options(self) -> tuple[str, ...]:
        """What `build` takes beside the number of classes."""
        return tuple(name for name in inspect.signature(self.build).parameters if name != "num_classes")

    def options_of(self, config: Any) -> dict[str, Any]:
        """The options that a configuration gives: its own settings, and `approx` where it takes one."""
        names = [setting.name for setting in self.settings]
        if "approx" in self.options:
            names.insert(0, "approx")
        return {name: getattr(config, name) for name in names}

    def normalised_by(self, data: Any) -> Normalisation:
        """What its images are normalised by: its own, or `data.mean` and `data.std`, for images of `data.channels`."""
        if self.normalisation is not None and len(self.normalisation.mean) == data.channels:
            return self.normalisation
        return Normalisation(data.mean, data.std)

    def check_side(self, side: int) -> None:
        """Raise `UserError` unless it takes images of `side` x `side` pixels; cheap, builds nothing."""
        if isinstance(side, bool) or not isinstance(side, int) or side < 1:
            raise UserError(f"image_size {side!r} is not a whole number of at least 1")
        if not self.takes(side):
            raise UserError(f"{self.name} cannot take images of {side}x{side}: {self.sides(side)}")
