"""What may import what, and what no module may hold: rules of the whole tree, read from the source itself."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("trainers", "search_spaces", "study")
MODULES = sorted(path for package in PACKAGES for path in (REPOSITORY / package).rglob("*.py"))
# Bytes; beyond this a module has more than one thing to say.
LONGEST_MODULE = 16 * 1024

# Who may not import whom. A name stands for itself and for everything below it.
FORBIDDEN = {
    "trainers": ("study", "search_spaces", "ray.tune", "optuna", "mlflow"),
    "search_spaces": ("study", "ray", "mlflow", "torch"),
    "trainers.binary": ("trainers.data", "trainers.models", "trainers.methods", "trainers.worker", "ray"),
    "trainers.methods": ("trainers.data", "trainers.models", "trainers.worker", "ray"),
    "trainers.models": ("trainers.data", "trainers.methods", "trainers.worker", "ray"),
    "trainers.data": ("trainers.binary", "trainers.models", "trainers.methods", "trainers.worker", "ray"),
}
# Not one of these may be called: each can run what it reads.
UNSAFE_CALLS = ("eval", "exec", "pickle.load", "pickle.loads", "yaml.load", "yaml.unsafe_load")


def module_name(path: Path) -> str:
    parts = path.relative_to(REPOSITORY).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def imported(path: Path) -> set[str]:
    """Every dotted name that a module imports, wherever in it: `from a import b` gives `a` and `a.b`."""
    names: set[str] = set()
    package = module_name(path).split(".") if path.name == "__init__.py" else module_name(path).split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            names.add(source)
            names.update(f"{source}.{alias.name}" for alias in node.names)
    return names


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


@pytest.mark.parametrize("package", FORBIDDEN)
def test_imports_run_one_way(package: str) -> None:
    found = {
        f"{module_name(path)} imports {name}"
        for path in MODULES
        if within(module_name(path), package)
        for name in imported(path)
        for forbidden in FORBIDDEN[package]
        if within(name, forbidden)
    }
    assert not found


def test_no_two_modules_import_each_other() -> None:
    known = {module_name(path): path for path in MODULES}
    edges = {name: {other for other in imported(path) if other in known} - {name} for name, path in known.items()}
    # `from study import commands` names the package too; a package's own list of its modules is no dependency on it.
    edges = {name: {other for other in others if not within(name, other)} for name, others in edges.items()}
    finished: set[str] = set()

    def visit(name: str, trail: tuple[str, ...]) -> None:
        assert name not in trail, "a circle of imports: " + " -> ".join([*trail[trail.index(name) :], name])
        if name not in finished:
            for other in sorted(edges[name]):
                visit(other, (*trail, name))
            finished.add(name)

    for name in edges:
        visit(name, ())


def test_import_reader_sees_every_form() -> None:
    """The rules above are only as good as this reader."""
    source = REPOSITORY / "trainers" / "errors.py"
    assert module_name(source) == "trainers.errors"
    assert "trainers.errors.UserError" in imported(REPOSITORY / "study" / "drive" / "cluster.py")
    assert "ray" in imported(REPOSITORY / "study" / "drive" / "cluster.py"), "an import inside a function"


def test_torch_load_is_always_restricted_to_weights() -> None:
    unrestricted = [
        f"{module_name(path)}:{call.lineno}"
        for path in MODULES
        for name, call in calls(path)
        if name == "torch.load"
        and not any(k.arg == "weights_only" and getattr(k.value, "value", None) is True for k in call.keywords)
    ]
    assert not unrestricted


def test_nothing_that_is_read_can_run() -> None:
    unsafe = [f"{module_name(path)}: {name}" for path in MODULES for name, _ in calls(path) if name in UNSAFE_CALLS]
    assert not unsafe


def test_modules_stay_short_and_say_what_they_are_for() -> None:
    for path in MODULES:
        assert path.stat().st_size <= LONGEST_MODULE, f"{path} is over 16 kB: give it two rooms"
        assert ast.get_docstring(ast.parse(path.read_text())), f"{path} does not open with what it is for"
