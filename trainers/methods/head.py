"""The lower control: only the classifier's head learns; every other weight, real or binary, stays as it was.

What a network that was pretrained elsewhere is worth on new data without any fine-tuning of it. `frozen` beside it adds
the training of the other real parameters (batch norm's affine ones, biases, the first layer), and a rule for binary
weights adds theirs. Batch norm's running statistics are no parameters and follow the new data, as under every method;
else a control would also be one of the image size and the colours that a file was pretrained with. Where nothing is
real, as in the MLP, nothing learns.
"""

from torch import nn

from trainers.binary.layers import binary_layers
from trainers.config import TrialConfig
from trainers.method import Look, Method, SimulatedCurve, real_parameters_lr


def head_of(model: nn.Module) -> list[nn.Parameter]:
    """The parameters of the classifier's head: of the last module that has any, where that is no binary layer."""
    binary = {id(layer) for _, layer in binary_layers(model)}
    own = {id(module): list(module.parameters(recurse=False)) for module in model.modules()}
    last = next((module for module, parameters in reversed(own.items()) if parameters or module in binary), None)
    return [] if last is None or last in binary else own[last]


def _describe(config: TrialConfig) -> str:
    return f"head only, lr={config.lr:.3g}" if config.lr_trains_real else "head only"


METHOD = Method(
    name="head",
    help="the lower control: only the classifier's head learns",
    trains_real=head_of,
    space=real_parameters_lr,
    describe=_describe,
    follows_lr=lambda settings: False,
    simulated=SimulatedCurve({"head": 0.75}, lambda config: [(config.lr, 1e-2)] if config.lr_trains_real else []),
    looks={"head": Look("#A6A6A6", "x")},
)
