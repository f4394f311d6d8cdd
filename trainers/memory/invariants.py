"""Does memory hold between steps what the algorithm says, and nothing else? Checked in a run that asks for `check`.

Three rules. Binary weights are -1 or +1, counters are less than what they flip at, and the bits that fill up a packed
row are 0. No floating-point tensor of a
binary layer's size is alive but what is declared: the latent weights and optimizer state of training in real space, the
tensors that a layer's rule names (Bop's momentum). And a rule keeps no tensor that it does not name, so that the bits
per weight are those that it declares.
"""

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from trainers.binary.bits import row_bytes
from trainers.binary.counters import pack_counters, unpack_counters
from trainers.binary.layers import BinaryLayer, binary_layers
from trainers.binary.weights import PackedWeight
from trainers.errors import InvariantError
from trainers.learner import Learner
from trainers.memory.watch import held
from trainers.method import PackedNumbers
from trainers.methods.contract import LayerRule


class Bystanders:
    """The tensors that were alive before a run built its learner: of other runs in this process, not of this one.

    They are known by weak references, so that nothing is kept alive, and memory that they leave is not excused.
    """

    def __init__(self) -> None:
        self._known = {id(tensor): weakref.ref(tensor) for tensor in _tensors()}

    def __contains__(self, tensor: Tensor) -> bool:
        reference = self._known.get(id(tensor))
        return reference is not None and reference() is tensor


def check_invariants(learner: Learner, bystanders: Bystanders) -> None:
    """Check `learner` between two steps; takes about as long as a step.

    Tensors are found among the objects that Python tracks, so one that only a library holds is not seen.

    Args:
        learner: whose memory it is.
        bystanders: made before `learner` was.

    Raises:
        InvariantError: a rule above is broken; it names the tensor.
    """
    layers = dict(binary_layers(learner.model))
    for name, layer in layers.items():
        _check_values(name, layer)
    for name, rule in learner.rule.layer_rules().items():
        _check_declared(name, rule, layers[name])
    _check_alive(learner, layers, bystanders)


def _check_values(name: str, layer: BinaryLayer) -> None:
    store = layer.store
    if isinstance(store, PackedWeight):
        width = row_bytes(store.shape)
        if store.bits.dtype is not torch.uint8 or tuple(store.bits.shape) != (store.shape[0], width):
            raise InvariantError(
                f"{name}.weight_bits is {store.bits.dtype} {tuple(store.bits.shape)}; {tuple(store.shape)} weights are "
                f"uint8 {(store.shape[0], width)}: a bit each, rows filled up to whole bytes"
            )
        used = store.shape[1:].numel() - 8 * (width - 1)
        if used < 8 and bool((store.bits[:, -1] >> used).any()):
            raise InvariantError(f"{name}.weight_bits holds set bits behind the end of a row; those must be 0")
    for rows in store.blocks():
        values = store.signs(rows, torch.float32)
        if not bool((values.abs() == 1).all()):
            stray = values[values.abs() != 1].flatten()[0].item()
            raise InvariantError(
                f"{name} has the weight {stray} among channels {rows.start}-{rows.stop}; only ±1 may be"
            )


def _check_declared(name: str, rule: LayerRule, layer: BinaryLayer) -> None:
    declared = rule.tensors()
    packed = rule.packed_numbers()
    for own, numbers in packed.items():
        for rows in layer.store.blocks():
            _check_numbers(f"{name}'s {own}", numbers, layer.store.shape, rows)
    for own, tensor in declared.items():
        if tensor.shape != layer.store.shape and own not in packed and not is_of_channels(tensor, layer.store.shape):
            raise InvariantError(
                f"{name}/{own} is {tuple(tensor.shape)}; a rule's tensor has one entry a weight, "
                f"{tuple(layer.store.shape)}, or a few numbers an output channel"
            )
    known = {_storage(tensor) for tensor in declared.values()}
    for own, tensor in _tensors_in(vars(rule), type(rule).__module__):
        if tensor.numel() > 1 and _storage(tensor) not in known:
            raise InvariantError(
                f"{name}: {type(rule).__name__} keeps {own} {tuple(tensor.shape)} {tensor.dtype} between steps, which "
                "its tensors() does not name"
            )


def is_of_channels(tensor: Tensor, shape: torch.Size) -> bool:
    """Whether a rule's tensor holds a few numbers an output channel, which are far fewer than the weights."""
    few = -(-shape[1:].numel() // 128)
    return tensor.dim() == 2 and len(tensor) == shape[0] and tensor.shape[1] <= few


def _check_numbers(name: str, numbers: PackedNumbers, shape: torch.Size, rows: slice) -> None:
    lowest, highest, packed = numbers.lowest, numbers.highest, numbers.tensor[rows]
    values = unpack_counters(packed, shape, numbers.bits)
    strays = values[(values < lowest) | (values > highest)]
    if strays.numel():
        raise InvariantError(
            f"{name}: one is {int(strays[0])}; with {numbers.bits} bits each lies within {lowest} .. {highest}"
        )
    if not torch.equal(pack_counters(values, numbers.bits), packed):
        raise InvariantError(f"{name} hold set bits behind the end of a row; those must be 0")


def _check_alive(learner: Learner, layers: dict[str, BinaryLayer], bystanders: Bystanders) -> None:
    declared = set()
    for category, name, tensor in held(learner):
        if category == "weights" and tensor.is_floating_point() and tensor.dim() > 1:
            raise InvariantError(f"{name} is {tensor.dtype} {tuple(tensor.shape)} beside packed weights; bits suffice")
        if category == "latent" and learner.config.packed:
            raise InvariantError(
                f"{name} {tuple(tensor.shape)} is a latent tensor, and {learner.config.method} has none"
            )
        declared.add(_storage(tensor))
    sizes = {layer.store.shape.numel(): name for name, layer in layers.items()}
    for collected in (False, True):
        strays = [tensor for tensor in _alive(sizes, bystanders) if _storage(tensor) not in declared]
        if strays and not collected:
            gc.collect()  # cycles that Python has not looked for yet are no state of the run
            del strays
            continue
        for tensor in strays:
            raise InvariantError(
                f"{_name_of(tensor)} {tuple(tensor.shape)} {tensor.dtype} is alive between steps: as large as the "
                f"weights of {sizes[tensor.numel()]}, and neither the model, the rule nor the optimizer declares it"
            )
        return


def _tensors() -> Iterator[Tensor]:
    """Every tensor among the objects that Python tracks."""
    return (thing for thing in gc.get_objects() if type(thing) in (Tensor, torch.nn.Parameter))


def _alive(sizes: dict[int, str], bystanders: Bystanders) -> Iterator[Tensor]:
    """Floating-point tensors with as many entries as a layer, and the gradients of such parameters."""
    for thing in _tensors():
        if thing in bystanders:
            continue
        grad = thing.grad if thing.is_leaf else None
        for tensor in (thing, grad):
            if tensor is not None and tensor.is_floating_point() and tensor.numel() in sizes and _storage(tensor):
                yield tensor


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr() if tensor.layout is torch.strided else 0


def _tensors_in(value: Any, module: str, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """The tensors in a value, its containers and its objects' attributes, with the way to them.

    Objects are looked into where the project's methods or `module`, the rule's own, define them.
    """
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, dict):
        for key, entry in value.items():
            yield from _tensors_in(entry, module, f"{name}.{key}" if name else str(key))
    elif isinstance(value, (list, tuple)):
        for index, entry in enumerate(value):
            yield from _tensors_in(entry, module, f"{name}[{index}]")
    elif type(value).__module__.startswith(("trainers.methods", module)) and hasattr(value, "__dict__"):
        yield from _tensors_in(vars(value), module, name)


def _name_of(tensor: Tensor) -> str:
    """Under what name something holds the tensor, as far as Python can tell."""
    for holder in gc.get_referrers(tensor):
        if isinstance(holder, dict):
            for key, value in holder.items():
                if value is tensor and isinstance(key, str):
                    return f"tensor {key!r}"
    return "a tensor"
