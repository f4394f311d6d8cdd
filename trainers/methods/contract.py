"""The contract that every update rule keeps, and what packed rules share.

An `UpdateRule` owns all trainable parameters of one model for one run: it is told when a step starts, receives
gradients (packed layers' within backward, the others' afterwards) and has changed every weight when `finish_step`
returns.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor

from trainers.binary.kernels.flips import words
from trainers.binary.kernels.philox import MASKS, key_of, uniform
from trainers.binary.layers import BinaryLayer, binary_layers, binary_sizes
from trainers.binary.parts import part_size, settled
from trainers.binary.weights import PackedWeight
from trainers.config import TrialConfig, learning_rates
from trainers.method import PackedNumbers
from trainers.methods.draws import derived_seed
from trainers.methods.real_parameters import optimizer_of, own_optimizer, own_rate
from trainers.methods.temperature import annealing

Average = Callable[[Tensor], Tensor]  # a worker's share of a mean gradient -> the sum over workers, in place


# Weights whose flips a CPU works out at a time (`part_size`): their float temporaries stay in its cache and out of the
# peak.
_UPDATE_WEIGHTS = 1 << 15


def parts(rows: slice, grad: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """A block of gradient, whose output channels are `rows`, in the parts that are worked on at a time.

    Where memory is predicted (`trainers.memory.predict`), of parts of one shape only the first two: the second finds in
    memory what the first has left, and so do all that follow.
    """
    step = max(1, part_size(_UPDATE_WEIGHTS, grad.device) * len(grad) // grad.numel())
    starts = range(0, len(grad), step)
    for first in [*starts[:2], *starts[2:][-1:]] if isinstance(grad, FakeTensor) else starts:
        part = grad[first : first + step]
        yield slice(rows.start + first, rows.start + first + len(part)), part


class LayerRule(ABC):
    """How the bits of one binary layer change; its state beside them.

    At every step: `start`, then `update` for the output channels block by block, always in the same order, then
    `finish`. So no rule ever needs a whole layer's gradient at once. One that must know something of all of it first
    asks to `look`: then the blocks come twice. A rule says at least how it updates.

    Args:
        config: the run.
        name: the layer's name, which seeds a rule's draws together with the run's seed and the step
            (`trainers.methods.draws`).
        latent: the layer's real weights before they are packed; not to be kept.
        pretrained: whether they are a pretrained file's real weights.

    Attributes:
        rate: u, the layer's learning rate at this step.
        step: the step's number, from 0.
        key: of the layer's draws in this run (`trainers.binary.kernels.philox`).
        course: how `start` is told to anneal, of `trainers.methods.temperature.ANNEALS`; as `anneal` says where empty.
    """

    course = ""

    def __init__(self, config: TrialConfig, name: str, latent: Tensor, pretrained: bool = False) -> None:
        self.config, self.name = config, name
        self.rate, self.step = 0.0, 0
        self.key = key_of(derived_seed(config.seed, name))

    def start(self, rate: float, step: int, annealing: float = 1.0) -> None:
        """A step begins: the layer's rate u, the step's number, and what any temperature is multiplied by."""
        self.rate, self.step = rate, step

    def looks_first(self) -> bool:
        """Whether the step that was started needs `look` for every block before the first `update`."""
        return False

    def look(self, grad: Tensor) -> None:
        """See a block of the gradient before any weight changes."""
        raise NotImplementedError(f"{type(self).__name__} does not ask to look at a gradient first")

    @abstractmethod
    def update(self, rows: slice, positive: Tensor, grad: Tensor) -> Tensor:
        """The new W = [w = +1] of the output channels `rows` from the old one and their gradient, of one shape."""

    def flip(self, rows: slice, store: PackedWeight, grad: Tensor) -> int | Tensor:
        """Update the packed weights of the output channels `rows` in place; returns how many flipped, as a number or
        as a tensor () that is read when somebody asks.

        Here by `update`, part by part; a rule that can work on the bits themselves does so instead.
        """
        flips: int | Tensor = 0
        for channels, part in parts(rows, grad):
            before = store.positive(channels)
            after = self.update(channels, before, part)
            flips = flips + settled(torch.count_nonzero(after ^ before))
            store.write(channels, after)
        return flips

    def words(self, rows: slice, like: Tensor, stream: int = MASKS) -> Tensor:
        """32 random bits a weight of the output channels `rows`, int32 in the shape of `like` (rows, ...).

        They depend on the run's seed, the layer, the step and the weight's place alone (`trainers.binary.kernels.
        philox`): not on the blocks in which a layer comes, nor on workers or threads.
        """
        return words(self.key, self.step, stream, rows, like[0].numel(), like.device).reshape(like.shape)

    def uniform(self, rows: slice, like: Tensor) -> Tensor:
        """Draws in [0, 1) a weight of the output channels `rows`, float32 in the shape of `like`; see `words`."""
        return uniform(self.words(rows, like))

    def finish(self) -> None:  # noqa: B027 (most rules have nothing left to do)
        """Every output channel has been updated."""

    def temperature(self) -> float | Tensor | None:
        """The temperature of the latest update, where the rule has one."""
        return None

    def tensors(self) -> dict[str, Tensor]:
        """State by name (none for most rules): of the weight's shape, packed counters, or a few numbers an output
        channel (out, k)."""
        return {}

    def packed_numbers(self) -> dict[str, PackedNumbers]:
        """Which of `tensors` are whole numbers of a few bits, packed, and what each number may be."""
        return {}

    def scalars(self) -> dict[str, float | None]:
        """State of one number a layer, by name."""
        return {}

    def load_scalars(self, values: dict[str, float | None]) -> None:
        """The inverse of `scalars`; a rule without any has nothing to load."""
        assert not values, f"{type(self).__name__} keeps no numbers, got {sorted(values)}"


class UpdateRule(ABC):
    """All weights of one model, one owner each.

    Args:
        config: the run.
        model: with its final weight stores.
        average: completes a gradient over workers.
    """

    def __init__(self, config: TrialConfig, model: nn.Module, average: Average) -> None:
        self.config = config
        self.model = model
        self.average = average
        self.flips: int | Tensor = 0  # weights flipped in the latest step; on a GPU it stays there
        self.step = 0
        self.total_steps: int | None = None  # of the whole run, where there is one: what annealing ends with
        self.lr = config.lr  # before the factors; Adam's decays
        self.real_rate = self.binary_rate = 0.0
        self.optimizer: torch.optim.Optimizer | None = None

    @property
    def binary_weights(self) -> int:
        """How many binary weights the model has, frozen ones included: what a flip rate is relative to."""
        return sum(binary_sizes(self.model).values())

    def start_step(self, step: int, step_batch: int, epoch: int) -> None:
        """Before the forward pass of step 0, 1, ... with `step_batch` images over all workers, in epoch 0, 1, ..."""
        self.step, self.flips = step, 0
        self.real_rate, self.binary_rate = learning_rates(self.config.model, self.config.lr, step_batch)
        if (own := own_rate(self.config, epoch)) is not None:
            self.real_rate = own

    @abstractmethod
    def finish_step(self) -> None:
        """After backward: change whatever backward has not changed yet, and drop all gradients."""

    def temperature(self) -> float | Tensor | None:
        """The mean over layers of the latest step's temperatures, where the rule has any."""
        return None

    def layer_rules(self) -> dict[str, LayerRule]:
        """The packed layers' rules by layer name: what a checkpoint keeps besides the model and the optimizer."""
        return {}

    def _step_optimizer(self) -> None:
        """Average the remaining gradients over workers, take the optimizer's step, drop the gradients."""
        if self.optimizer is None:
            return
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self.average(parameter.grad)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)


def trainable_parameters(model: nn.Module) -> list[nn.Parameter]:
    """The parameters that autograd will give a gradient."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


class LayerUpdate:
    """Joins one packed layer to its rule: completes each block of gradient over workers, and flips its bits."""

    def __init__(self, store: PackedWeight, rule: LayerRule, owner: "PackedRule") -> None:
        self.store, self.rule, self.owner = store, rule, owner

    def start(self) -> bool:
        owner = self.owner
        factor = annealing(self.rule.course or owner.config.anneal, owner.step, owner.total_steps)
        self.rule.start(owner.binary_rate, owner.step, factor)
        return self.rule.looks_first()

    def look(self, rows: slice, grad: Tensor) -> None:
        for _, part in parts(rows, grad):
            # The same block may come again to be taken: what sums over workers in place gets a copy.
            self.rule.look(self.owner.average(part.clone()) if self.owner.config.workers > 1 else part)

    def take(self, rows: slice, grad: Tensor) -> None:
        self.owner.flips += self.rule.flip(rows, self.store, self.owner.average(grad))

    def finish(self) -> None:
        self.rule.finish()


class PackedRule(UpdateRule):
    """Bits change in backward, layer by layer; the real parameters take their optimizer's step at the step's end."""

    def __init__(self, config: TrialConfig, model: nn.Module, average: Average, rules: dict[str, LayerRule]) -> None:
        super().__init__(config, model, average)
        self.rules = rules
        layers = dict(binary_layers(model))
        for name, rule in rules.items():
            store = packed_store(layers[name])
            store.consumer = LayerUpdate(store, rule, self)
        parameters = trainable_parameters(model)
        kind = own_optimizer(config) or "SGD"
        self.optimizer = optimizer_of(kind, parameters, config.lr) if parameters else None

    def finish_step(self) -> None:
        if self.optimizer is not None:
            self.optimizer.param_groups[0]["lr"] = self.real_rate
        self._step_optimizer()

    def temperature(self) -> float | Tensor | None:
        values = [value for rule in self.rules.values() if (value := rule.temperature()) is not None]
        return sum(values) / len(values) if values else None

    def layer_rules(self) -> dict[str, LayerRule]:
        return self.rules


def packed_store(layer: BinaryLayer) -> PackedWeight:
    """The layer's store, which must be packed by now."""
    if not isinstance(layer.store, PackedWeight):
        raise RuntimeError(f"a packed update rule needs packed weights, got {type(layer.store).__name__}")
    return layer.store
