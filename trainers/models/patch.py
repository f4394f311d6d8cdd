"""A fine-tuned model as what differs from its pretrained file: which bits flipped, and the real parameters that moved.

    weights.safetensors   `flips`: the flipped positions of each binary layer, coded (`trainers.binary.flip_codes`);
                          beside them every tensor that is not as in the pretrained file
    model.json            the network, as in a whole export; the pretrained file's SHA-256 and name; each layer's code

Fine-tuning flips about one weight in a hundred, which takes some 0.08 bits a weight: many tasks, one network. A patch
is bound to its file by the hash, and gives the very bits of the whole export.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainers.binary.bits import pack_bits, unpack_bits
from trainers.binary.flip_codes import FlipCode, decode, encode
from trainers.binary.layers import binary_layers, packed_state
from trainers.binary.weights import PackedWeight
from trainers.content_names import file_sha256
from trainers.errors import UserError
from trainers.models.checkpoints import check_pretrained, load_pretrained
from trainers.models.described import ModelDescription, restored_model
from trainers.models.model_folder import WEIGHTS, read_model_folder, write_model_folder

FORMAT = "binsfo-patch-1"
FLIPS = "flips"
_BITS, _SCALE = ".weight_bits", ".weight_scale"


@dataclass(frozen=True)
class PatchSize:
    """What a patch takes.

    Attributes:
        weights: binary weights that the pretrained file has too.
        flips: how many of them flipped.
        flip_bytes: bytes of their positions.
        other_bytes: bytes of the tensors beside them.
    """

    weights: int
    flips: int
    flip_bytes: int
    other_bytes: int

    def line(self) -> str:
        """In words."""
        share, bits = 100 * self.flips / max(1, self.weights), 8 * self.flip_bytes / max(1, self.weights)
        return (
            f"{self.flips:,} of {self.weights:,} binary weights flipped ({share:.2f} %), which takes "
            f"{self.flip_bytes / 1e3:.1f} kB, {bits:.3f} bits a weight; real parameters and what the file lacks take "
            f"{self.other_bytes / 1e3:.1f} kB"
        )


@dataclass(frozen=True)
class _Base:
    """The pretrained network, packed.

    Attributes:
        state: its tensors.
        shapes: of the binary layers' weights, by layer.
        certain: the names that the file filled; what else is in `state` was drawn and means nothing.
        sha256: of the file.
    """

    state: dict[str, Tensor]
    shapes: dict[str, torch.Size]
    certain: frozenset[str]
    sha256: str


def save_patch(
    folder: str | Path, model: nn.Module, about: ModelDescription, base: str | Path, *, replace: bool = False
) -> tuple[Path, PatchSize]:
    """Write what differs between a packed model and the pretrained file at `base`, whole or not at all.

    Args:
        folder, about, replace: as in `trainers.models.packed.save_packed`.
        model: with packed stores, as `about` describes it.
        base: the file.

    Returns:
        The folder's full path, and what the patch takes.

    Raises:
        UserError: `base` is no pretrained file of this network, or the folder is there already or cannot be written.
    """
    start = _base(about, Path(base))
    tensors, codes, size = _differences(model, start)
    more = {"base": {"sha256": start.sha256, "name": Path(base).name}, "flips": codes}
    return write_model_folder(Path(folder), FORMAT, tensors, about, more, replace=replace), size


def _differences(model: nn.Module, start: _Base) -> tuple[dict[str, Tensor], list[dict[str, Any]], PatchSize]:
    tensors: dict[str, Tensor] = {}
    codes: list[dict[str, Any]] = []
    stream = bytearray()
    weights = flips = 0
    for name, tensor in packed_state(model).items():
        layer = name.removesuffix(_BITS)
        if layer != name and name in start.certain:
            shape = start.shapes[layer]
            flipped = unpack_bits(tensor, shape) ^ unpack_bits(start.state[name], shape)
            code = encode(flipped.reshape(-1).numpy())
            codes.append(
                {"layer": layer, "count": code.count, "low_bits": code.low_bits, "unary_bytes": len(code.unary)}
            )
            stream += code.unary + code.low
            weights, flips = weights + code.size, flips + code.count
        elif name not in start.certain or not _same(tensor, start.state[name]):
            tensors[name] = tensor
    other = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    tensors[FLIPS] = torch.frombuffer(stream, dtype=torch.uint8) if stream else torch.empty(0, dtype=torch.uint8)
    return tensors, codes, PatchSize(weights, flips, len(stream), other)


def load_patched(base: str | Path, folder: str | Path) -> tuple[nn.Module, ModelDescription]:
    """The model that a patch makes of the pretrained file at `base`, on the CPU, in evaluation mode, without gradients.

    Raises:
        UserError: no patch there, one of another file, or files that are damaged or do not fit each other.
    """
    folder, base = Path(folder), Path(base)
    found = read_model_folder(folder, FORMAT, ("base", "flips"))
    bound, named = _bound(found.more["base"], folder)
    if base.is_file() and (other := file_sha256(base)) != bound:
        raise UserError(
            f"{folder} is a patch of {named} (SHA-256 {bound[:16]}...), and {base} is another file ({other[:16]}...); "
            "give that one"
        )
    start = _base(found.about, base)
    state = dict(start.state)
    stream = found.tensors.pop(FLIPS, None)
    if stream is None or stream.dtype != torch.uint8 or stream.dim() != 1:
        raise UserError(f"{folder / WEIGHTS} holds no flips; export the run again")
    flipped = _flipped(found.more["flips"], stream.numpy().tobytes(), start, folder)
    for name, bits in flipped.items():
        shape = start.shapes[name.removesuffix(_BITS)]
        state[name] = pack_bits(unpack_bits(state[name], shape) ^ bits.reshape(shape))
    twice = flipped.keys() & found.tensors.keys()
    lacking = [name for name in state if name not in start.certain and name not in found.tensors]
    if twice or lacking:
        raise UserError(f"{folder} does not say what {(*twice, *lacking)[0]} is; export the run again")
    return restored_model(found.about, {**state, **found.tensors}, str(folder / WEIGHTS)), found.about


def _base(about: ModelDescription, base: Path) -> _Base:
    with torch.device("meta"):  # before memory is taken for a network that somebody's description asks for
        check_pretrained(about.build(), base)
    with torch.random.fork_rng(devices=[]):  # what it draws is replaced, or is nobody's
        model = about.build()
    report = load_pretrained(model, base)
    shapes = {name: layer.store.shape for name, layer in binary_layers(model)}
    latents = {f"{name}.weight" for name in shapes}
    for _, layer in binary_layers(model):
        layer.pack()
        assert isinstance(layer.store, PackedWeight)
    # A scale is a mean, whose last bits hang on how it was summed: it is always said.
    certain = {f"{name}_bits" if name in latents else name for name in report.loaded}
    state = {name: value.detach() for name, value in model.state_dict().items()}
    return _Base(state, shapes, frozenset(certain & state.keys()), report.sha256)


def _flipped(codes: Any, stream: bytes, start: _Base, folder: Path) -> dict[str, Tensor]:
    """Which bits flipped, (weights,), by the name of each layer's bits.

    Raises:
        UserError: the codes are not those of the network's layers.
    """
    flipped: dict[str, Tensor] = {}
    at = 0
    try:
        for entry in codes:
            layer, count, low_bits, unary = (entry[key] for key in ("layer", "count", "low_bits", "unary_bytes"))
            numbers = (count, low_bits, unary)
            if any(type(number) is not int or number < 0 for number in numbers) or f"{layer}{_BITS}" in flipped:
                raise ValueError(f"{entry} is no code")
            if f"{layer}{_BITS}" not in start.certain or low_bits > 64 or count > start.shapes[layer].numel():
                raise ValueError(f"{entry} is of no layer of the pretrained file")
            ends = at + unary, at + unary + -(-count * low_bits // 8)
            code = FlipCode(start.shapes[layer].numel(), count, low_bits, stream[at : ends[0]], stream[slice(*ends)])
            flipped[f"{layer}{_BITS}"] = torch.from_numpy(decode(code))
            at = ends[1]
        missing = [name for name in start.certain if name.endswith(_BITS) and name not in flipped]
        if at != len(stream) or missing:
            raise ValueError(f"{len(stream)} bytes of flips, of which the layers take {at}")
    except (UserError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{folder} is no patch of its network ({error}); export the run again") from None
    return flipped


def _bound(said: Any, folder: Path) -> tuple[str, str]:
    """The SHA-256 and the name of the file that a patch is of."""
    if not isinstance(said, Mapping) or not all(isinstance(said.get(key), str) for key in ("sha256", "name")):
        raise UserError(f"{folder} does not say which pretrained file it is a patch of; export the run again")
    return said["sha256"], said["name"]


def _same(a: Tensor, b: Tensor) -> bool:
    """Whether two tensors hold the same bits: 0 and -0 are not the same, and would not divide alike."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    return torch.equal(*(tensor.reshape(-1).contiguous().view(torch.uint8) for tensor in (a, b)))
