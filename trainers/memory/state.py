"""What training keeps of the binary weights from one step to the next, in bits a weight: counted on the tensors.

Peak memory depends on the batch, the images and the width; this does not. It is what a rule itself costs: 1 for BinSFO
and b more for counters of b bits, 17 or 33 for Bop (momentum in 16 or 32 bits), 32 for SGD in real space, 96 for Adam.
The filling of rows up to whole bytes, weight scales and an optimizer's step counts come on top.
"""

from torch import Tensor

from trainers.binary.layers import binary_layers, binary_sizes
from trainers.learner import Learner


def state_bytes(learner: Learner) -> dict[str, int]:
    """Bytes that each binary layer keeps between steps: its own tensors, its rule's and the optimizer's, by layer.

    Adam's moments exist from the first step on, so before it they are not counted.
    """
    rules = learner.rule.layer_rules()
    states = learner.rule.optimizer.state if learner.rule.optimizer is not None else {}
    found = {}
    for name, layer in binary_layers(learner.model):
        kept = [*layer.parameters(recurse=False), *layer.buffers(recurse=False)]
        for parameter in layer.parameters(recurse=False):
            kept += [value for value in states.get(parameter, {}).values() if isinstance(value, Tensor)]
        kept += rules[name].tensors().values() if name in rules else []
        found[name] = sum(tensor.nbytes for tensor in kept)
    return found


def state_bits_per_weight(learner: Learner) -> float:
    """Bits a binary weight over all binary layers: 8·(sum of `state_bytes`) / (number of binary weights)."""
    weights = sum(binary_sizes(learner.model).values())
    return 8 * sum(state_bytes(learner).values()) / weights
