"""What no source file may do: read what can run, run what was read, or open a door."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent.parent
SOURCES = sorted(
    path
    for folder in ("trainers", "search_spaces", "study", "benchmarks", "cluster", "examples")
    for path in (REPOSITORY / folder).rglob("*.py")
)
# Calls that run what they read; and modules that exist to read such things.
RUNNING_CALLS = {
    *("eval", "exec", "compile", "__import__", "os.system", "os.popen"),
    *("yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load", "yaml.full_load_all"),
}
RUNNING_MODULES = {"pickle", "cPickle", "cloudpickle", "dill", "marshal", "shelve", "joblib", "torch.package"}
# Tune's way back is unpickling its own state files; ours is the journal and the log.
UNPICKLING = {"Tuner.restore", "ExperimentAnalysis", "can_restore", "tune.Tuner.restore"}


@cache
def trees() -> list[tuple[str, ast.Module]]:
    return [(path.relative_to(REPOSITORY).as_posix(), ast.parse(path.read_text())) for path in SOURCES]


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    for name, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Call):
                yield f"{name}:{node.lineno}", ast.unparse(node.func), node


def keyword(call: ast.Call, name: str) -> object:
    return next((getattr(entry.value, "value", entry.value) for entry in call.keywords if entry.arg == name), None)


def test_the_rules_are_read_from_every_source_file() -> None:
    names = {name for name, _ in trees()}
    assert {"study/define/yaml_reader.py", "trainers/models/safe_read.py", "cluster/try_one_node.py"} <= names


def test_no_call_runs_what_was_read() -> None:
    found = [f"{place}: {function}" for place, function, _ in calls() if function in RUNNING_CALLS]
    assert not found


def test_pickle_is_known_only_by_the_name_of_its_error() -> None:
    """A pickle can ask its reader to call anything."""
    for name, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                imported = {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported = {node.module or ""}
            else:
                continue
            assert not imported & (RUNNING_MODULES - {"pickle"}), f"{name}:{node.lineno}"
            assert "pickle" not in imported or name == "trainers/models/safe_read.py", f"{name}:{node.lineno}"
    used = {
        ast.unparse(node)
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "pickle"
    }
    assert used <= {"pickle.UnpicklingError"}


def test_torch_and_numpy_load_data_alone() -> None:
    for place, function, call in calls():
        if function == "torch.load":
            assert keyword(call, "weights_only") is True, place
        if function.split(".")[-1] == "load" and function.startswith(("np.", "numpy.")):
            assert keyword(call, "allow_pickle") in (None, False), place
        assert function not in ("torch.jit.load", "torch.hub.load"), place


def test_yaml_is_read_by_the_safe_loader() -> None:
    for place, function, call in calls():
        assert function not in ("yaml.load", "yaml.load_all"), place
        if function.startswith("yaml.") and "Loader" in function:
            assert function == "yaml.SafeLoader", place
        assert keyword(call, "Loader") is None, place


def test_nothing_of_tunes_own_state_is_restored() -> None:
    for name, tree in trees():
        found = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Name)}
        assert not found & UNPICKLING, name


def test_no_shell_takes_a_text_apart() -> None:
    for place, function, call in calls():
        if function.startswith("subprocess."):
            assert keyword(call, "shell") in (None, False), place


def test_no_server_is_asked_to_listen_everywhere() -> None:
    for name, tree in trees():
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant):
                assert node.value not in ("0.0.0.0", "::"), f"{name}:{node.lineno}"


@pytest.mark.parametrize("text", ["yaml.load(x, Loader=yaml.Loader)", "torch.load(p)", "subprocess.run(x, shell=True)"])
def test_the_reader_of_these_rules_sees_a_breach(text: str) -> None:
    """The rules above are only as good as this reader."""
    (call,) = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Call)]
    assert ast.unparse(call.func) in ("yaml.load", "torch.load", "subprocess.run")
    assert keyword(call, "weights_only") is None
    assert keyword(call, "shell") in (None, True)
