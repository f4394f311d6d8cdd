"""How many binary weights differ from those that a run began with: in all, and by layer.

The bits of the start, 1 a weight, lie on disk in the run's folder (`start.safetensors`, the configuration's fingerprint
beside them) and are read a layer at a time, so that a run holds none of them while it trains. They are the signs of the
network as it is built for the configuration, a pretrained file's where there is one; real-space training has them too.
"""

from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from trainers.atomic import write_atomically
from trainers.binary.bits import differing
from trainers.binary.layers import binary_layers, binary_sizes
from trainers.exhaustion import exhausted
from trainers.progress import Metrics

_FORMAT = "binsfo-start-1"


def start_file(run_dir: Path) -> Path:
    """Where the bits lie that a run began with."""
    return run_dir / "start.safetensors"


def bits_of(model: nn.Module) -> dict[str, Tensor]:
    """Every binary layer's signs now, packed: uint8 (out, ceil(n/8)) by layer, on the CPU, in memory of their own."""
    return {name: layer.store.bits.to("cpu", copy=True).contiguous() for name, layer in binary_layers(model)}


def keep_start(run_dir: Path, fingerprint: str, bits: dict[str, Tensor]) -> None:
    """Write the bits of a run's start, unless they are there whole.

    Args:
        run_dir: the run's folder.
        fingerprint: of the run's configuration.
        bits: `bits_of` its network before the first step.
    """
    path = start_file(run_dir)
    if not _whole(path, fingerprint, bits):
        metadata = {"format": _FORMAT, "fingerprint": fingerprint}
        write_atomically(path, lambda partial: save_file(bits, partial, metadata), durable=False)


def flipped_since_start(run_dir: Path, model: nn.Module) -> dict[str, int] | None:
    """How many weights of each binary layer differ from the run's start; None where its bits cannot be read."""
    found = {}
    try:
        with safe_open(start_file(run_dir), framework="pt") as file:
            for name, layer in binary_layers(model):
                now = layer.store.bits
                found[name] = int(differing(file.get_tensor(name).to(now.device), now))
    except Exception as error:  # what a reader of any bytes may come upon
        if exhausted(error) is not None:
            raise
        return None
    return found


def flips_so_far(run_dir: Path, model: nn.Module, history: Sequence[Metrics], rates: float) -> Metrics:
    """An epoch's `flips_per_weight`, all flips so far by binary weights, and `flipped_share`, of binary weights that
    differ from the start; each where it is known.

    Args:
        run_dir, model: of the run.
        history: the metrics of the epochs before, some of which may be of before flips were counted.
        rates: the sum of the flip rates of this epoch's steps.
    """
    before = history[-1].get("flips_per_weight") if history else 0.0
    found: Metrics = {} if before is None else {"flips_per_weight": before + rates}
    flipped = flipped_since_start(run_dir, model)
    if flipped is not None:
        found["flipped_share"] = sum(flipped.values()) / sum(binary_sizes(model).values())
    return found


def shares_by_layer(run_dir: Path, model: nn.Module) -> Metrics:
    """`flipped_by_layer`: each binary layer's share of weights that differ from the start, to six decimals."""
    flipped, sizes = flipped_since_start(run_dir, model), binary_sizes(model)
    if flipped is None:
        return {}
    return {"flipped_by_layer": {name: round(count / sizes[name], 6) for name, count in flipped.items()}}


def _whole(path: Path, fingerprint: str, bits: dict[str, Tensor]) -> bool:
    if not path.is_file():
        return False
    try:
        with safe_open(path, framework="pt") as file:
            same = (file.metadata() or {}) == {"format": _FORMAT, "fingerprint": fingerprint}
            return same and all(torch.equal(file.get_tensor(name), tensor) for name, tensor in bits.items())
    except Exception as error:  # as above
        if exhausted(error) is not None:
            raise
        return False
