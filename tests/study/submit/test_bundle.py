"""What a study names is found here, and its file gets the paths that they have on the cluster, and no other change."""

from pathlib import Path

import pytest
import yaml

from study.define.study_file import load_study
from study.submit.bundle import ROOT, Bundle, bundle_of
from tests.study.small_study import content
from tests.study.submit.played_cluster import pictures
from trainers.errors import UserError


def bundle(file: Path, plugins: list[str] | None = None, data_root: str | None = None) -> Bundle:
    return bundle_of(load_study(str(file)), str(file), plugins or [], data_root)


def study(folder: Path, **changes: object) -> Path:
    file = folder / "study.yaml"
    file.write_text(yaml.safe_dump(content(**changes)))
    return file


def cells(*datasets: str, **more: object) -> list[dict[str, object]]:
    return [{"datasets": list(datasets), "models": ["MLP"], "methods": ["binary"], **more}]


def test_a_study_on_the_catalog_alone_sends_its_file_alone(tmp_path: Path) -> None:
    file = study(tmp_path)
    found = bundle(file)
    assert found.items == () and found.text == file.read_text()
    assert bundle_of(load_study("quickstart"), "quickstart", [], None).items == ()


def test_relative_paths_are_of_the_folder_that_the_command_is_given_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path / "here" / "animals")
    (tmp_path / "here" / "w.safetensors").write_bytes(b"x" * 2048)
    (tmp_path / "here" / "own.py").write_text("pass\n")
    monkeypatch.chdir(tmp_path / "here")
    text = (
        "name: mine  # a name\n"
        "cells:\n"
        "  - {datasets: [animals, Digits, ./animals], models: [AdamBNN], methods: [binary], "
        "fixed: {pretrained: w.safetensors}}\n"
        "fixed: {epochs: 1, image_size: 32}\n"
    )
    file = tmp_path / "mine.yaml"
    file.write_text(text)
    found = bundle_of(load_study("quickstart"), str(file), ["own.py"], None)
    sent = {item.there: (item.what, item.source, item.files) for item in found.items}
    assert sent == {
        "data/animals": ("data", tmp_path / "here" / "animals", 6),
        "weights/w.safetensors": ("weights", tmp_path / "here" / "w.safetensors", 1),
        "plugins/own.py": ("plug-in", tmp_path / "here" / "own.py", 1),
    }
    there = found.text_at("/home/u/d")
    assert there == (
        text.replace("[animals,", '["/home/u/d/data/animals",')
        .replace("./animals]", '"/home/u/d/data/animals"]')
        .replace("pretrained: w.safetensors", 'pretrained: "/home/u/d/weights/w.safetensors"')
    )
    assert found.plugins_at("/home/u/d") == ["/home/u/d/plugins/own.py"]
    assert any("6 files" in line for line in found.lines())


def test_files_of_one_name_stay_apart(tmp_path: Path) -> None:
    one, other = pictures(tmp_path / "a" / "animals"), pictures(tmp_path / "b" / "animals")
    first, second = bundle(study(tmp_path, cells=cells(str(one), str(other)))).items
    assert first.there == "data/animals" and second.there.startswith("data/animals-")


def test_an_anchor_is_replaced_where_it_stands(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(b"x")
    file = tmp_path / "study.yaml"
    file.write_text(
        f"name: a\npretrain: {{fixed: &f {{pretrained: {tmp_path}/w.bin}}}}\nfixed: *f\n"
        "search:\n  fixed:\n    binary:\n      pretrained: |-\n        "
        f"{tmp_path}/w.bin\n    bop: {{pretrained: null}}\n"
    )
    text = bundle_of(load_study("quickstart"), str(file), [], None).text
    assert yaml.safe_load(text) == {
        "name": "a",
        "pretrain": {"fixed": {"pretrained": f"{ROOT}/weights/w.bin"}},
        "fixed": {"pretrained": f"{ROOT}/weights/w.bin"},
        "search": {"fixed": {"binary": {"pretrained": f"{ROOT}/weights/w.bin"}, "bop": {"pretrained": None}}},
    }


def test_what_is_missing_is_refused_here(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data set 'nowhere.parquet' is unknown"):
        bundle(study(tmp_path, cells=cells("nowhere.parquet")))
    file = study(tmp_path, fixed={"epochs": 6, "pretrained": "nowhere.pth"})
    with pytest.raises(UserError, match=r"no pretrained file nowhere.pth; give its path from this folder"):
        bundle_of(load_study("quickstart"), str(file), [], None)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError):
        bundle(study(tmp_path, cells=cells(str(tmp_path / "empty"))))


def test_a_link_within_data_is_refused(tmp_path: Path) -> None:
    folder = pictures(tmp_path / "animals")
    (folder / "cats" / "3.png").symlink_to(folder / "cats" / "2.png")
    with pytest.raises(UserError, match=r"3\.png is a link"):
        bundle(study(tmp_path, cells=cells(str(folder))))


def test_the_catalogs_data_are_sent_from_a_data_root_that_is_named(tmp_path: Path) -> None:
    root = tmp_path / "packs"
    (root / "cifar-10").mkdir(parents=True)
    (root / "cifar-10" / "train.parquet").write_bytes(b"x" * 100)
    file = study(tmp_path, cells=cells("CIFAR10", "Digits"))
    assert bundle(file).items == ()
    (item,) = bundle(file, data_root=str(root)).items
    assert (item.source, item.there, item.size) == (root / "cifar-10", "../../cifar-10", 100)
    with pytest.raises(UserError, match="no folder of that name in the data root"):
        bundle(file, data_root=str(tmp_path / "nowhere"))


def test_another_plug_in_or_option_is_another_job(tmp_path: Path) -> None:
    plugin = tmp_path / "own.py"
    digests = set()
    for text in ("a = 1\n", "a = 2\n"):
        plugin.write_text(text)
        digests |= {bundle(study(tmp_path), [str(plugin)]).digest(words) for words in ([], ["--trials", "2"])}
    assert len(digests) == 4
