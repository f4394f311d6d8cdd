"""The reader of MXNet's networks under any bytes, in the arrays and in the graph beside them."""

import json
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from tests.fuzz.inputs import fuzz, mutated, only_user_errors
from tests.trainers.models.mxnet_files import graph, params, words
from tests.trainers.registered import registered
from trainers.binary.layers import BinaryConv2d
from trainers.model import Model, Mxnet, Pretrained
from trainers.models.checkpoints import check_pretrained
from trainers.models.mxnet_params import graph_file

pytestmark = pytest.mark.slow

EPS = 2e-5
LAYERS: dict[str, tuple[str, dict[str, str]]] = {
    "norm": ("BatchNorm", {"eps": "2e-05", "fix_gamma": "False"}),
    "conv": ("QConvolution", {"kernel": "(1, 1)", "num_filter": "4", "act_bit": "1"}),
    "fc": ("FullyConnected", {"num_hidden": "7"}),
}


class TinyNetwork(nn.Module):
    """A layer of each kind that a file holds."""

    def __init__(self, num_classes: int = 7) -> None:
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(3, eps=EPS), BinaryConv2d(64, 4, 1)
        self.fc = nn.Linear(4, num_classes)


@pytest.fixture(scope="module", autouse=True)
def known() -> Iterator[None]:
    mxnet = Mxnet(lambda layer, binary: layer, EPS)
    pretrained = Pretrained(heads=("fc.",), keeps_head=True, mxnet=mxnet)
    with registered(Model("TinyNetwork", "for damaged files", TinyNetwork, pretrained=pretrained)):
        yield


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None, prefix="fuzz-") as folder:
        yield Path(folder)


@lru_cache(maxsize=2)
def valid(wide: bool) -> bytes:
    norms = {f"arg:norm_{name}": np.ones(3, np.float32) for name in ("gamma", "beta")}
    norms |= {f"aux:norm_moving_{name}": np.ones(3, np.float32) for name in ("mean", "var")}
    signs = words(torch.ones(4, 64, 1, 1))
    head = {"arg:fc_weight": np.ones((7, 4), np.float32), "arg:fc_bias": np.ones(7, np.float32)}
    return params({**norms, "arg:conv_weight": signs, **head}, wide)


def read(folder: Path, arrays: bytes, nodes: bytes) -> None:
    file = folder / "net-0001.params"
    file.write_bytes(arrays)
    graph_file(file).write_bytes(nodes)
    with only_user_errors():
        check_pretrained(TinyNetwork(), file)
    assert {path.name for path in folder.iterdir()} == {file.name, graph_file(file).name}


@pytest.mark.parametrize("wide", [False, True])
def test_the_valid_files_are_taken(wide: bool, scratch: Path) -> None:
    file = scratch / "net-0001.params"
    file.write_bytes(valid(wide))
    graph_file(file).write_text(graph(LAYERS))
    assert check_pretrained(TinyNetwork(), file).kept_heads == ("fc.weight", "fc.bias")


@fuzz(1200)
@given(data=st.data(), wide=st.booleans())
def test_damaged_arrays_are_loaded_or_a_message(data: st.DataObject, wide: bool, scratch: Path) -> None:
    read(scratch, data.draw(mutated(valid(wide))), graph(LAYERS).encode())


texts = st.sampled_from(["(1, 1)", "(0, 0)", "(999, 999)", "4", "-4", "9" * 30, "1e400", "nan", "True", ""]) | st.text(
    max_size=5
)
attributes = st.dictionaries(
    st.sampled_from(["kernel", "num_filter", "act_bit", "eps", "fix_gamma"]), texts, max_size=3
)
nodes: st.SearchStrategy[Any] = st.fixed_dictionaries(
    {},
    optional={
        "op": st.sampled_from(["null", "BatchNorm", "QConvolution", "Convolution", "FullyConnected"]) | st.integers(),
        "name": st.sampled_from(["norm", "conv", "fc"]) | st.none() | st.lists(st.integers(), max_size=2),
        "attrs": attributes | st.none() | st.integers(),
        "param": attributes,
    },
)


@fuzz(400)
@given(
    changes=st.dictionaries(st.sampled_from(sorted(LAYERS)), st.dictionaries(st.just("attrs"), attributes)),
    more=st.lists(nodes, max_size=3),
)
def test_any_graph_is_loaded_or_a_message(changes: dict[str, Any], more: list[Any], scratch: Path) -> None:
    content = json.loads(graph(LAYERS))
    content["nodes"] = [{**node, **changes.get(node["name"], {})} for node in content["nodes"]] + more
    read(scratch, valid(True), json.dumps(content).encode())


@fuzz(400)
@given(data=st.data())
def test_a_damaged_graph_is_loaded_or_a_message(data: st.DataObject, scratch: Path) -> None:
    read(scratch, valid(False), data.draw(mutated(graph(LAYERS).encode())))
