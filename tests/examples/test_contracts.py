"""The examples of one's own rule and model keep the contracts that the project's own keep."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from trainers import plugins
from trainers.plugins import load_plugin
from trainers.testing import ModelContract, RuleContract

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(autouse=True, scope="module")
def loaded() -> Iterator[None]:
    """The plug-ins, which no other test is to know of."""
    for name in ("own_rule.py", "own_model.py"):
        load_plugin(EXAMPLES / name)
    yield
    for name in ("own_rule.py", "own_model.py"):
        plugins._withdraw(plugins._LOADED.pop(name).origin)


class TestLargest(RuleContract):
    settings: ClassVar[dict[str, Any]] = {"algorithm": "largest", "flip_threshold": 2.0}


class TestTinyResNet(ModelContract):
    name = "TinyResNet"
    options: ClassVar[dict[str, Any]] = {"channels": 8}
    image = (3, 8)


@pytest.mark.parametrize(("name", "lines"), [("own_rule.py", 30), ("own_model.py", 40)])
def test_an_example_fits_on_a_page(name: str, lines: int) -> None:
    assert len((EXAMPLES / name).read_text().splitlines()) <= lines
