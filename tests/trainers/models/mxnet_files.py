"""Files as MXNet writes them, from arrays and layers: the twin of `trainers.models.mxnet_params`, the other way.

And what a graph computes, node by node: the twin of the networks that are built from it.
"""

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

Arrays = Mapping[str, np.ndarray]
Layers = Mapping[str, tuple[str, Mapping[str, str]]]


def params(arrays: Arrays, wide: bool = False) -> bytes:
    """The bytes of a `.params` file; `wide` as later releases write shapes."""
    parts = [struct.pack("<QQQ", 0x112, 0, len(arrays))]
    for values in arrays.values():
        head = struct.pack("<I", 0xF993FAC8) if wide else b""
        shape = struct.pack(f"<I{values.ndim}{'q' if wide else 'I'}", values.ndim, *values.shape)
        kind = {np.dtype(np.float32): 0, np.dtype(np.float64): 1}[values.dtype]
        parts += [head, shape, struct.pack("<iii", 1, 0, kind), values.tobytes()]
    parts.append(struct.pack("<Q", len(arrays)))
    for name in arrays:
        parts += [struct.pack("<Q", len(name)), name.encode()]
    return b"".join(parts)


def graph(layers: Layers) -> str:
    """The text of a graph's file, nodes without their connections."""
    nodes = [{"op": "null", "name": "data", "inputs": []}]
    nodes += [{"op": kind, "name": name, "attrs": dict(values)} for name, (kind, values) in layers.items()]
    return json.dumps({"nodes": nodes, "heads": [[len(nodes) - 1, 0, 0]]})


def words(signs: Tensor) -> np.ndarray:
    """Signs (out, in, k, k) as 64-bit words that are called float64, bit by bit."""
    rows = signs.flatten(1) > 0
    assert rows.shape[1] % 64 == 0
    found = []
    for row in rows.tolist():
        for first in range(0, len(row), 64):
            found.append(sum(1 << place for place, positive in enumerate(row[first : first + 64]) if positive))
    return np.array(found, "<u8").view("<f8")


def write(folder: Path, name: str, arrays: Arrays, layers: Layers, wide: bool = False) -> Path:
    """Both files of a network; returns the one with the arrays."""
    file = folder / f"{name}-0007.params"
    file.write_bytes(params(arrays, wide))
    (folder / f"{name}-symbol.json").write_text(graph(layers))
    return file


def run_graph(file: Path, arrays: Arrays, images: Tensor) -> Tensor:
    """What the last layer before the softmax gives for images (N, C, H, W), in float64, node by node."""
    nodes = json.loads(file.read_text())["nodes"]
    values: list[Any] = []
    for node in nodes:
        attributes = node.get("attrs", node.get("attr", {}))
        inputs = [values[source] for source, *_ in node["inputs"]]
        if node["op"] == "null":
            key = next((f"{kind}:{node['name']}" for kind in ("arg", "aux") if f"{kind}:{node['name']}" in arrays), "")
            values.append(images if node["name"] == "data" else arrays.get(key))
        elif node["op"] == "SoftmaxOutput":
            return inputs[0]
        else:
            values.append(_OPERATORS[node["op"]](inputs, attributes))
    raise AssertionError("no softmax")


def _tensor(values: np.ndarray) -> Tensor:
    return torch.from_numpy(values.astype(np.float64))


def _pair(attributes: Mapping[str, str], name: str, default: str) -> tuple[int, int]:
    first, second = json.loads(attributes.get(name, default).replace("(", "[").replace(")", "]"))
    return first, second


def _norm(inputs: list[Any], attributes: Mapping[str, str]) -> Tensor:
    x, gamma, beta, mean, variance = inputs[0], *map(_tensor, inputs[1:])
    if attributes["fix_gamma"] == "True":
        gamma = torch.ones_like(gamma)
    return functional.batch_norm(x, mean, variance, gamma, beta, False, 0.0, float(attributes["eps"]))


def _convolution(inputs: list[Any], attributes: Mapping[str, str]) -> Tensor:
    return functional.conv2d(
        inputs[0], _tensor(inputs[1]), None, _pair(attributes, "stride", "(1, 1)"), _pair(attributes, "pad", "(0, 0)")
    )


def _agreement(inputs: list[Any], attributes: Mapping[str, str]) -> Tensor:
    """(K + dot)/2 of signs, zeros around an image counted as +1."""
    high, wide = _pair(attributes, "kernel", "")
    rows = inputs[1].view("<u8").reshape(int(attributes["num_filter"]), -1)
    bits = (rows[:, :, None] >> np.arange(64, dtype=np.uint64)) & np.uint64(1)
    weight = torch.from_numpy(bits.astype(np.float64) * 2 - 1).reshape(len(rows), -1, high, wide)
    edge, _ = _pair(attributes, "pad", "(0, 0)")
    s = torch.where(functional.pad(inputs[0], [edge] * 4) >= 0, 1.0, -1.0).double()
    return (weight[0].numel() + functional.conv2d(s, weight, stride=_pair(attributes, "stride", "(1, 1)"))) / 2


def _pooling(inputs: list[Any], attributes: Mapping[str, str]) -> Tensor:
    if attributes.get("global_pool") == "True":
        return inputs[0].mean(dim=(2, 3), keepdim=True)
    assert attributes["pool_type"] == "max"
    stride, edge = _pair(attributes, "stride", "(1, 1)"), _pair(attributes, "pad", "(0, 0)")
    return functional.max_pool2d(inputs[0], _pair(attributes, "kernel", ""), stride, edge)


_OPERATORS = {
    "BatchNorm": _norm,
    "Convolution": _convolution,
    "QConvolution": _agreement,
    "QActivation": lambda inputs, attributes: inputs[0],  # acts in backward alone; the convolution takes signs
    "Activation": lambda inputs, attributes: functional.relu(inputs[0]),
    "Pooling": _pooling,
    "elemwise_add": lambda inputs, attributes: inputs[0] + inputs[1],
    "Flatten": lambda inputs, attributes: inputs[0].flatten(1),
    "FullyConnected": lambda inputs, attributes: functional.linear(inputs[0], *map(_tensor, inputs[1:])),
}
