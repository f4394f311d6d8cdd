"""The learner: one model with its update rule, and the one training step that both hosts take.

A step: the worker's share of a global batch goes forward; the loss is the *global* batch's mean, so that gradients
summed over workers are the mean gradient; backward hands packed layers' gradients to their rules at once; the rest
follows.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainers.batch_norm import synchronize_batch_norm
from trainers.binary.layers import binary_layers, set_epoch, set_kernels
from trainers.config import TrialConfig
from trainers.data.loader import PreparedData, normalise
from trainers.errors import DivergedError
from trainers.methods import UpdateRule, make_update_rule
from trainers.methods.draws import derived_seed
from trainers.models import build_model, set_activation_memory
from trainers.models.checkpoints import PretrainedReport, load_pretrained
from trainers.registry import model_named
from trainers.replicas import Replicas
from trainers.run_data import pretrained_file


def new_model(config: TrialConfig, num_classes: int, channels: int, image_size: int) -> nn.Module:
    """The configured model with latent weights that depend on the seed alone."""
    model = model_named(config.model)
    options = {**model.options_of(config), **model.image_options(channels, image_size)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(config.seed, "initial weights"))
        return build_model(config.model, num_classes, weight_scale=config.scale_kind, **options)


@dataclass(frozen=True)
class InputShape:
    """What a learner asks of a data set, where there is none: one that a memory plan or a benchmark speaks of."""

    num_classes: int
    channels: int
    image_size: int

    def random_batch(self, images: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
        """So many random images, uint8 (N, C, H, W), and their labels, which go round the classes."""
        size = (images, self.channels, self.image_size, self.image_size)
        draws = torch.Generator().manual_seed(seed)
        return torch.randint(0, 256, size, dtype=torch.uint8, generator=draws), torch.arange(images) % self.num_classes

    @property
    def mean(self) -> tuple[float, ...]:
        """Of each channel; any value does."""
        return (0.5,) * self.channels

    @property
    def std(self) -> tuple[float, ...]:
        """Of each channel; any value does."""
        return (0.5,) * self.channels


def finite(loss: float, where: str) -> float:
    """The loss itself.

    Raises:
        DivergedError: it is NaN or infinite; `where` says of which step or epoch.
    """
    if not math.isfinite(loss):
        raise DivergedError(f"the loss became {loss} {where}; try a smaller lr")
    return loss


class Learner:
    """A model in training.

    Args:
        config: the run, resolved.
        data: gives the number of classes, the image's shape and its normalisation.
        replicas: the workers that train it together.
        device: where it lives.

    Attributes:
        pretrained: what became of the pretrained file, where there is one.
    """

    def __init__(
        self, config: TrialConfig, data: PreparedData | InputShape, replicas: Replicas, device: torch.device
    ) -> None:
        self.config = config
        self.replicas = replicas
        self.device = device
        normalised = model_named(config.model).normalised_by(data)
        self.mean, self.std = (torch.tensor(values, device=device) for values in (normalised.mean, normalised.std))
        model = new_model(config, data.num_classes, data.channels, data.image_size)
        pretrained = False
        self.pretrained: PretrainedReport | None = None
        if (file := pretrained_file(config)) is not None:
            self.pretrained = report = load_pretrained(model, file)
            pretrained = not report.signs_only
            if report.signs_only and config.weight_scale is None and not config.xnor:
                for _, layer in binary_layers(model):
                    layer.set_weight_scale("none")  # signs carry no scale to take
        set_activation_memory(model, config.activation_memory)
        set_kernels(model, config.kernels)
        self.model = model.to(device)
        synchronize_batch_norm(self.model, replicas)
        self.rule: UpdateRule = make_update_rule(config, self.model, replicas.sum, pretrained)

    def rule_state(self) -> dict[str, float | Tensor | None]:
        """Everything that the layers' rules keep beside the weights, by layer and name."""
        return {
            f"{layer}/{name}": value
            for layer, rule in self.rule.layer_rules().items()
            for name, value in (*rule.tensors().items(), *rule.scalars().items())
        }

    def inputs(self, images: Tensor) -> Tensor:
        """uint8 (N, C, H, W) from the data set -> normalised float32 on the device."""
        return normalise(images.to(self.device, non_blocking=True), self.mean, self.std, torch.float32)

    def start_epoch(self, epoch: int) -> None:
        """Before the first step of epoch 0, 1, ..."""
        set_epoch(self.model, epoch, self.config.epochs)
        self.model.train()

    def train_step(self, images: Tensor, labels: Tensor, step: int, step_batch: int, epoch: int) -> float | Tensor:
        """One step on this worker's share of `step_batch` images; returns the mean loss over the global batch.

        On a GPU that is a tensor () of the device, which the host does not wait for; whether it is finite is asked of
        an epoch's sum (`finite`).

        Raises:
            DivergedError: on a CPU, the loss is NaN or infinite; no weight has been changed by this step.
        """
        self.rule.start_step(step, step_batch, epoch)
        logits = self.model(self.inputs(images))
        losses = nn.functional.cross_entropy(logits, labels.to(self.device, non_blocking=True), reduction="sum")
        loss = losses / step_batch
        total = self.replicas.sum(loss.detach().clone())
        if self.device.type != "cuda":
            finite(float(total), f"at step {step + 1} (epoch {epoch + 1})")
        if loss.requires_grad:  # the frozen MLP has nothing to differentiate
            loss.backward()
        self.rule.finish_step()
        # As wide as a Python float, so that an epoch's sum loses nothing.
        return total.double() if self.device.type == "cuda" else float(total)

    @torch.no_grad()
    def answers(self, images: Tensor, count: int) -> Tensor:
        """The classes that the model names for these images, the likeliest first: int64 (N, count), or of all classes
        where there are fewer; evaluation mode is the caller's."""
        logits = self.model(self.inputs(images))
        return logits.topk(min(count, logits.shape[1]), dim=1).indices
