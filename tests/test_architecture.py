"""What no rule of ruff or import-linter says of the tree: how long a module is, who names Ray Tune, what is loaded."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("trainers", "search_spaces", "study")
PROGRAMS = ("benchmarks", "cluster", "examples")
# Bytes; beyond this a module has more than one thing to say.
LONGEST_MODULE = 16 * 1024


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (REPOSITORY / folder).rglob("*.py"))


@cache
def nodes() -> list[tuple[str, ast.AST]]:
    """Every node of every file of ours, with its place."""
    return [
        (f"{path.relative_to(REPOSITORY)}:{getattr(node, 'lineno', 1)}", node)
        for path in sources(*PACKAGES, *PROGRAMS)
        for node in ast.walk(ast.parse(path.read_text()))
    ]


def calls(*functions: str) -> Iterator[tuple[str, dict[str | None, object]]]:
    """Calls of these functions: the place, and what is written behind each keyword."""
    for place, node in nodes():
        if isinstance(node, ast.Call) and ast.unparse(node.func) in functions:
            yield place, {k.arg: getattr(k.value, "value", ast.unparse(k.value)) for k in node.keywords}


def test_modules_stay_short() -> None:
    long = [str(path) for path in sources(*PACKAGES) if path.stat().st_size > LONGEST_MODULE]
    assert not long, "over 16 kB: give them two rooms"


def test_a_run_knows_ray_train_but_not_ray_tune() -> None:
    """import-linter sees packages, and both are `ray`."""
    tune = re.compile(r"\bray\.tune\b|\bfrom ray import [^\n]*\btune\b")
    assert not [str(path) for path in sources("trainers", "search_spaces") if tune.search(path.read_text())]


def test_torch_and_numpy_load_data_alone() -> None:
    """A pickle can ask its reader to call anything, and a file of weights or of arrays may be one."""
    loads = list(calls("torch.load"))
    assert loads, "else this test has lost sight of what it holds"
    assert not [place for place, keywords in loads if keywords.get("weights_only") is not True]
    arrays = calls("np.load", "numpy.load")
    assert not [place for place, keywords in arrays if keywords.get("allow_pickle") not in (None, False)]


def test_no_server_is_asked_to_listen_on_every_ipv6_address() -> None:
    """Of IPv4's `0.0.0.0` ruff knows."""
    assert not [place for place, node in nodes() if isinstance(node, ast.Constant) and node.value == "::"]
