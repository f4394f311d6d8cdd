"""Read networks that MXNet saved with binary weights: a `*.params` file, and the graph in the JSON file beside it.

`NAME-0040.params` holds arrays by name, `NAME-symbol.json` the graph: which layers there are, of which kind and with
which window. Both may come from anywhere. Nothing in them is executed, no size is believed before the file is seen to
be long enough for it, and whatever is left over or does not fit is an error.

The format (MXNet 0.9 to 1.0), little-endian: u64 0x112, u64 0, u64 count; each array; u64 count, and each name as u64
length and bytes. An array is u32 dimensions and u32 each, or u32 0xF993FAC8, u32 dimensions and i64 each; then i32
device, i32 device's number, i32 type (0 float32, 1 float64), and the numbers. Names begin with `arg:` or `aux:`.

A binary convolution's weights lie as 64-bit words under a float64's name: the signs of one output channel along
(in, k, k), +1 as 1, the first in the lowest bit.
"""

import hashlib
import json
import math
import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainers.errors import UserError
from trainers.models.safe_read import no_file

SUFFIX = ".params"

_MAGIC = 0x112
_WIDE_DIMENSIONS = 0xF993FAC8
_TYPES: dict[int, np.dtype[Any]] = {0: np.dtype("<f4"), 1: np.dtype("<f8")}
_WORD = 64

# Far beyond any network: ResNet-18 has 99 arrays, 172 nodes, and names of up to 32 signs.
_MOST_ARRAYS = 10_000
_MOST_DIMENSIONS = 8
_MOST_NAME = 256
_MOST_GRAPH_BYTES = 1 << 24
_MOST_WINDOW = 64

# What a name in the file ends with, and what it is called here.
_KINDS = {
    "weight": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_var": "running_var",
}
_NAME = re.compile(rf"(?:arg|aux):(\w+?)_({'|'.join(_KINDS)})")


@dataclass(frozen=True)
class Layer:
    """A node of the graph.

    Attributes:
        kind: its operator: Convolution, QConvolution, BatchNorm, ...
        attributes: as texts, by name.
    """

    kind: str
    attributes: Mapping[str, str]

    @property
    def binary(self) -> bool:
        """Whether it is a convolution of signs with binary weights, saved as bits."""
        return self.kind == "QConvolution"

    @property
    def fixed_gamma(self) -> bool:
        """Whether it is a batch norm whose factor is 1, whatever the file says; so it is unless said otherwise."""
        return self.kind == "BatchNorm" and self.attributes.get("fix_gamma", "True") in ("True", "1")


def read_network(
    path: Path, own_name: Callable[[str, bool], str], eps: float
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """The tensors of a saved network under our names, binary weights as -1 and +1, and what was assumed.

    Args:
        path: the `.params` file.
        own_name: what a layer is called here, from its name in the graph and whether it is binary.
        eps: of our batch norms, which the file's must have.

    Raises:
        UserError: a file that is not there, is damaged, or says something else than it should.
    """
    arrays = read_arrays(path)
    graph = graph_file(path)
    layers, digest = read_graph(graph)
    found: dict[str, Tensor] = {}
    fixed = []
    for name, values in arrays.items():
        match = _NAME.fullmatch(name)
        layer = layers.get(match.group(1)) if match else None
        if match is None or layer is None:
            raise UserError(f"{path} holds {name!r}, and {graph} has no such layer; {_TOGETHER}")
        kind = match.group(2)
        _check_layer(match.group(1), layer, eps, graph)
        own = own_name(match.group(1), layer.binary)
        if layer.fixed_gamma and kind == "gamma":
            fixed.append(own)
            continue
        if layer.fixed_gamma and kind == "beta":
            key, tensor = f"{own}_beta.bias", torch.from_numpy(values.astype(np.float32)).view(1, -1, 1, 1)
        elif layer.binary:
            key, tensor = f"{own}.{_KINDS[kind]}", _signs(values, match.group(1), layer, path)
        else:
            key, tensor = f"{own}.{_KINDS[kind]}", torch.from_numpy(values.astype(np.float32))
        if key in found:
            raise UserError(f"{path} holds two arrays for {key}; {_AGAIN}")
        found[key] = tensor
    assumed = [f"the graph is that of {graph.name} (sha256 {digest[:16]})"]
    if fixed:
        assumed.append(f"the factor of {', '.join(fixed)} is 1, as its graph fixes it")
    return found, tuple(assumed)


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Every array of a `.params` file by its name there: views of the file's bytes, float32 or float64.

    Raises:
        UserError: it cannot be read, or is no such file.
    """
    reader = _Reader(_content(path), path)
    if reader.numbers("<QQ", "its first words")[0] != _MAGIC:
        raise UserError(f"{path} is no list of MXNet arrays: it does not begin with {_MAGIC:#x}; {_AGAIN}")
    arrays = [reader.array() for _ in range(reader.count("arrays"))]
    names = [reader.name() for _ in range(reader.count("names"))]
    if len(names) != len(arrays) or len(set(names)) < len(names):
        raise UserError(f"{path} has {len(set(names))} different names for {len(arrays)} arrays; {_AGAIN}")
    if reader.place != len(reader.data):
        raise UserError(f"{path} goes on for {len(reader.data) - reader.place} bytes after its end; {_AGAIN}")
    return dict(zip(names, arrays, strict=True))


def graph_file(path: Path) -> Path:
    """Where the graph of a `.params` file lies: NAME-symbol.json for NAME-0040.params."""
    return path.with_name(re.sub(r"-\d+$", "", path.stem) + "-symbol.json")


def read_graph(path: Path) -> tuple[dict[str, Layer], str]:
    """The layers of a graph by name, and the file's SHA-256.

    Raises:
        UserError: it is not there, or is no graph.
    """
    content = _content(path, _MOST_GRAPH_BYTES, "; fetch it too, it is published beside the .params file")
    try:
        nodes = json.loads(content)["nodes"]
        layers = {node["name"]: _layer(node) for node in nodes if node["op"] != "null"}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{path} is no graph of MXNet ({error!r:.200}); {_AGAIN}") from None
    return layers, hashlib.sha256(content).hexdigest()


def _layer(node: Mapping[str, Any]) -> Layer:
    """MXNet has called a node's attributes by three names."""
    attributes: Mapping[str, Any] = next((node[key] for key in ("attrs", "attr", "param") if key in node), {})
    return Layer(str(node["op"]), {str(name): str(value) for name, value in attributes.items()})


def _check_layer(name: str, layer: Layer, eps: float, graph: Path) -> None:
    """Refuse a layer that computes something else than ours does."""
    wanted = {}
    if layer.kind == "BatchNorm":
        wanted = {"eps": (layer.attributes.get("eps"), eps)}
    elif layer.binary:
        wanted = {"act_bit": (layer.attributes.get("act_bit"), 1)}
    for attribute, (text, value) in wanted.items():
        try:
            same = text is not None and math.isclose(float(text), value)
        except ValueError:
            same = False
        if not same:
            raise UserError(f"{graph}: {attribute} of {name} is {str(text)[:40]}, ours is {value:g}; {_AGAIN}")


def _signs(values: np.ndarray, name: str, layer: Layer, path: Path) -> Tensor:
    """Words of bits as -1 and +1, (out, in, k, k)."""
    window = re.fullmatch(r"\((\d{1,3}), ?(\d{1,3})\)", layer.attributes.get("kernel", ""))
    outputs = layer.attributes.get("num_filter", "")
    high, wide = (int(side) for side in window.groups()) if window else (0, 0)
    out = int(outputs) if re.fullmatch(r"\d{1,9}", outputs) else 0
    if not (0 < high <= _MOST_WINDOW and 0 < wide <= _MOST_WINDOW and out):
        raise UserError(f"{graph_file(path)} does not say the window and the outputs of {name}; {_AGAIN}")
    bits = values.size * _WORD
    if values.dtype.itemsize * 8 != _WORD or values.ndim != 1 or not bits or bits % (out * high * wide):
        raise UserError(
            f"{path}: {name} is {values.dtype} {values.shape}, which is no {outputs} rows of bits for a window of "
            f"{high}x{wide}; {_TOGETHER}"
        )
    positive = np.unpackbits(values.view(np.uint8), bitorder="little")
    return torch.from_numpy(positive).view(out, -1, high, wide).float().mul_(2).sub_(1)


class _Reader:
    """Walks over a file's bytes; every size is held against what is left of them."""

    def __init__(self, data: bytes, path: Path) -> None:
        self.data, self.path, self.place = data, path, 0

    def take(self, count: int, what: str) -> memoryview:
        left = len(self.data) - self.place
        if count > left:
            raise UserError(f"{self.path} ends within {what}: {count} bytes are wanted and {left} left; {_AGAIN}")
        self.place += count
        return memoryview(self.data)[self.place - count : self.place]

    def numbers(self, form: str, what: str) -> tuple[int, ...]:
        return struct.unpack(form, self.take(struct.calcsize(form), what))

    def count(self, what: str) -> int:
        (count,) = self.numbers("<Q", f"the number of its {what}")
        if count > _MOST_ARRAYS:
            raise UserError(f"{self.path} says that it has {count} {what}, above {_MOST_ARRAYS}; {_AGAIN}")
        return count

    def array(self) -> np.ndarray:
        (dimensions,) = self.numbers("<I", "an array")
        form = "I"
        if dimensions == _WIDE_DIMENSIONS:
            (dimensions,) = self.numbers("<I", "an array")
            form = "q"
        if not 0 < dimensions <= _MOST_DIMENSIONS:
            raise UserError(
                f"{self.path} has an array of {dimensions} dimensions, where 1 to {_MOST_DIMENSIONS} can be; it may be "
                "of a later MXNet than 1.0, whose files are not read; get the published file"
            )
        shape = self.numbers(f"<{dimensions}{form}", "an array's shape")
        *_, code = self.numbers("<iii", "an array's type")
        if min(shape) < 1 or code not in _TYPES:
            raise UserError(f"{self.path} has an array {shape} of type {code}, which cannot be; {_AGAIN}")
        kind = _TYPES[code]
        return np.frombuffer(self.take(math.prod(shape) * kind.itemsize, "an array"), kind).reshape(shape)

    def name(self) -> str:
        (length,) = self.numbers("<Q", "a name")
        if length > _MOST_NAME:
            raise UserError(f"{self.path} has a name of {length} bytes, above {_MOST_NAME}; {_AGAIN}")
        return bytes(self.take(length, "a name")).decode("utf-8", "replace")


def _content(path: Path, most: int | None = None, where: str = "") -> bytes:
    if what := no_file(path):
        raise UserError(f"{path} {what}{where or '; give the path of a .params file'}")
    try:
        if most is not None and path.stat().st_size > most:
            raise UserError(f"{path} is larger than {most} bytes, which no graph is; {_AGAIN}")
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror or error}; check the file and its permissions"
        ) from None


_AGAIN = "get the file again"
_TOGETHER = "get both files again, they belong together"
