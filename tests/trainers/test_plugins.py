"""A plug-in file brings methods, models and data sets; what is wrong with one is a line with its file and its line."""

import hashlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trainers import plugins
from trainers.config import TrialConfig
from trainers.data.catalog import lookup
from trainers.errors import UserError
from trainers.plugins import Plugin, load_plugin, origins, receive, shipped
from trainers.registry import METHODS, cell_methods, declared, method_named

RULE = """from trainers.methods import LayerRule, Method, Range, Setting


class Never(LayerRule):
    def update(self, rows, positive, grad):
        return positive


METHOD = Method(
    "never",
    "flips nothing",
    layer_rule=Never,
    settings=(Setting("patience", int, "steps", 3, least=1, ablatable=True),),
    space={"patience": Range(1, 9)},
)
"""

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Writes a plug-in file; what was loaded from it is forgotten after the test."""
    before = dict(plugins._LOADED)

    def one(text: str) -> Path:
        path = tmp_path / "own.py"
        path.write_text(text)
        return path

    yield one
    for name in plugins._LOADED.keys() - before.keys():
        plugins._withdraw(plugins._LOADED.pop(name).origin)


def test_a_method_in_a_file_is_a_method_everywhere(write: Write) -> None:
    plugin = load_plugin(write(RULE))
    assert plugin.brings == ("method never",)
    assert "never" in cell_methods() and declared()["patience"].default == 3
    config = TrialConfig("Digits", "MLP", "never", patience=5)
    assert (config.method, config.patience, config.to_dict()["patience"]) == ("never", 5, 5)
    assert TrialConfig.from_dict(config.to_dict()) == config
    assert config.fingerprint() != config.replace(patience=3).fingerprint()


def test_a_methods_own_setting_is_refused_by_name_where_the_method_is_another(write: Write) -> None:
    load_plugin(write(RULE))
    with pytest.raises(UserError, match="patience is a setting of never, which bop with MLP does not have"):
        TrialConfig("Digits", "MLP", "bop", patience=5)
    before = TrialConfig("Digits", "MLP", "bop")
    assert "patience" not in before.to_dict(), "so that no other run's fingerprint changes"
    with pytest.raises(AttributeError, match="bop has no patience"):
        _ = before.patience


def test_a_plug_in_is_told_by_its_name_and_sha256_and_travels_as_text(write: Write) -> None:
    load_plugin(write(RULE))
    digest = hashlib.sha256(RULE.encode()).hexdigest()
    assert origins("Digits", "MLP", "never") == {"own.py": digest}
    assert origins("Digits", "MLP", "bop") == {}
    (travelling,) = [plugin for plugin in shipped() if plugin["name"] == "own.py"]
    plugins._withdraw(plugins._LOADED.pop("own.py").origin)
    assert "never" not in METHODS.all()
    receive([travelling])
    assert origins("Digits", "MLP", "never") == {"own.py": digest}


def test_the_same_file_again_changes_nothing_and_a_later_version_takes_its_place(write: Write) -> None:
    first = load_plugin(write(RULE))
    assert load_plugin(write(RULE)) is first
    again = load_plugin(write(RULE.replace("flips nothing", "flips no weight")))
    assert isinstance(again, Plugin) and method_named("never").help == "flips no weight"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\n\ndef f(:\n", r"own\.py, line 3: SyntaxError: invalid syntax"),
        ("x = 1\nimport nothing_of_this_name\n", r"own\.py, line 2: ModuleNotFoundError: No module named"),
        ("x = 1\n", r"own\.py, line 1: it brings nothing; let its top level hold a Method, a Model or a DatasetInfo"),
        (RULE.replace('"never"', '"bop"'), r"own\.py, line 9: method 'bop' is there already, from the project's own"),
        (RULE.replace('"never"', '"no-name"'), r"own\.py, line 9: method name 'no-name' cannot be used"),
        (RULE.replace('    "flips nothing",\n', ""), r"own\.py, line 9: TypeError: .*missing 1 required.*'help'"),
        (RULE.replace('"patience", int', '"lr", int'), r"own\.py, line 9: never: its setting lr is one of every run"),
        (RULE.replace('"patience", int', '"anneal", int'), r"own\.py, line 9: never: its setting anneal is int, and "),
        (RULE.replace('"steps", 3', '"steps"'), r"own\.py, line 9: never: its setting patience has no default"),
        (RULE.replace('"steps", 3', '"steps", 0'), r"own\.py, line 13: patience 0 is not a whole number of at least 1"),
        (RULE.replace("Range(1, 9)", "Range(9, 1)"), r"own\.py, line 14: the range 9 \.\. 1 is empty"),
        (RULE.replace("least=1", "since=1, least=1"), r"own\.py, line 9: never: its setting patience is new"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_file_and_its_line(write: Write, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as raised:
        load_plugin(write(text))
    assert "\n" not in str(raised.value)
    assert "never" not in METHODS.all() and not any(plugin["name"] == "own.py" for plugin in shipped())


def test_a_file_that_is_not_there_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"plug-in .*none\.py cannot be read: No such file"):
        load_plugin(tmp_path / "none.py")
    (tmp_path / "bytes.py").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="is no text"):
        load_plugin(tmp_path / "bytes.py")


def test_a_data_set_in_a_file_is_a_data_set_of_the_catalog(write: Write) -> None:
    example = Path(__file__).parents[2] / "examples" / "own_data.py"
    plugin = load_plugin(write(example.read_text()))
    assert plugin.brings == ("dataset Stripes",)
    info = lookup("stripes")
    assert info is not None and info.read is not None
    source = info.read(Path())
    assert (len(source.train.labels), source.class_names) == (200, ("level", "upright"))
    assert list(origins("Stripes", "MLP", "bop")) == ["own.py"]


def test_an_installed_package_brings_methods_by_its_entry_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trainers.method import Method
    from trainers.registry import Registry

    (tmp_path / "theirs.py").write_text(RULE)
    about = tmp_path / "theirs-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[binsfo_study.methods]\nnever = theirs:METHOD\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    fresh = Registry(Method, "trainers.methods", "binsfo_study.methods")
    origin = fresh.origin("never")
    assert origin is not None
    assert (origin.name, origin.sha256) == ("theirs", hashlib.sha256(RULE.encode()).hexdigest())
    sys.modules.pop("theirs")
    (about / "entry_points.txt").write_text("[binsfo_study.methods]\nnever = theirs:Never\n")
    with pytest.raises(UserError, match=r"plug-in theirs .*is a ABCMeta, not a Method"):
        Registry(Method, "trainers.methods", "binsfo_study.methods").all()
