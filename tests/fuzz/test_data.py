"""The readers of one's own data under any bytes: prepared data or a message, never a traceback or half a folder."""

import io
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.fuzz.inputs import fuzz, mutated, only_user_errors
from trainers.data.loader import open_prepared
from trainers.data.prepare import prepare
from trainers.data.store import verify_prepared

pytestmark = pytest.mark.slow

KINDS = ("PNG", "JPEG", "BMP", "GIF", "TIFF", "WEBP", "PPM")


@lru_cache(maxsize=64)
def picture(seed: int, kind: str = "PNG", grey: bool = False) -> bytes:
    """An encoded picture of seeded noise, 8x8."""
    shape = (8, 8) if grey else (8, 8, 3)
    values = np.random.Generator(np.random.PCG64(seed)).integers(0, 256, shape, dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, format=kind)
    return stream.getvalue()


def parquet_bytes(table: pa.Table, **options: Any) -> bytes:
    stream = io.BytesIO()
    pq.write_table(table, stream, **options)
    return stream.getvalue()


@lru_cache(maxsize=8)
def valid_parquet(hub: bool, compression: str) -> bytes:
    """Twelve pictures in three classes, as plain binary with class names or in the hub's layout."""
    pictures = [picture(index) for index in range(12)]
    images = pa.array([{"bytes": data, "path": "x.png"} for data in pictures] if hub else pictures)
    feature = {"names": ["a", "b", "c"], "_type": "ClassLabel"}
    told = {"info": {"features": {"image": {"_type": "Image"}, "label": feature}}}
    notes = {"huggingface": json.dumps(told)} if hub else {"class_names": json.dumps(["a", "b", "c"])}
    table = pa.table({"image": images, "label": pa.array([index % 3 for index in range(12)], pa.int64())})
    return parquet_bytes(table.replace_schema_metadata(notes), compression=compression, row_group_size=5)


@pytest.fixture(scope="module")
def scratch() -> Iterator[Path]:
    """A folder in memory where there is one: thousands of small files are written and flushed."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None, prefix="fuzz-") as folder:
        yield Path(folder)


def prepared(source: Path, scratch: Path, image_size: int | None) -> None:
    """Prepare what lies at `source`: whole, or not at all and with a message."""
    root = scratch / "prepared"
    before = {path.name for path in scratch.iterdir()}
    done = False
    try:
        with only_user_errors():
            folder = prepare(source, scratch, prepared_root=root, image_size=image_size)
            data = open_prepared(source, scratch, prepared_root=root, image_size=image_size)
            for name in ("train", "test"):
                split = data.split(name)
                split.images(np.arange(len(split)))
            done = True
        left = [path for path in root.rglob("*") if not path.name.endswith(".lock")] if root.exists() else []
        if done:
            verify_prepared(folder)
            assert not [path for path in left if path.suffix in (".partial", ".jsonl")]
        else:
            assert not left, "what could not be prepared leaves nothing"
        assert {path.name for path in scratch.iterdir()} - before <= {"prepared"}
    finally:
        shutil.rmtree(root, ignore_errors=True)


@fuzz(700)
@given(data=st.data(), hub=st.booleans(), compression=st.sampled_from(["none", "snappy", "gzip", "zstd"]))
def test_a_damaged_parquet_file_is_prepared_or_a_message(
    data: st.DataObject, hub: bool, compression: str, scratch: Path
) -> None:
    file = scratch / "own.parquet"
    file.write_bytes(data.draw(mutated(valid_parquet(hub, compression))))
    prepared(file, scratch, data.draw(st.sampled_from([None, 8])))


columns = st.one_of(
    st.lists(st.sampled_from([picture(1), picture(2, grey=True), b"", b"x", None]), min_size=4, max_size=4),
    st.lists(st.integers(-3, 5) | st.none(), min_size=4, max_size=4),
    st.lists(st.sampled_from([0, 1, 2**31, 2**62, -(2**63)]), min_size=4, max_size=4),
    st.lists(st.floats() | st.none(), min_size=4, max_size=4),
    st.lists(st.booleans(), min_size=4, max_size=4),
    st.lists(st.text(max_size=3), min_size=4, max_size=4),
    st.lists(st.fixed_dictionaries({"bytes": st.just(picture(3)) | st.none()}) | st.none(), min_size=4, max_size=4),
    st.lists(st.fixed_dictionaries({"bytes": st.integers(0, 3)}), min_size=4, max_size=4),
    st.lists(st.fixed_dictionaries({"path": st.text(max_size=3)}), min_size=4, max_size=4),
    st.lists(st.lists(st.integers(0, 3), max_size=2), min_size=4, max_size=4),
)
notes = st.dictionaries(
    st.sampled_from(["class_names", "huggingface", "num_classes"]),
    st.sampled_from(
        [
            '["a", "b"]', '["a", "a"]', "[1, null, {}]", "{}", "[]", "null", "3", "-1", "1000000000", "1e9", "x",
            "[" * 5000,
            '{"info": {"features": {"label": {"names": [1, 2]}}}}', '{"info": []}', '{"info": {"features": 3}}',
            '{"info": {"features": {"label": {"names": "ab"}}}}', '{"info": null}', '["../a", "b\\u0000", "\\ud800"]',
        ]
    )
    | st.text(max_size=10),
    max_size=2,
)  # fmt: skip


@fuzz(400)
@given(
    table=st.dictionaries(st.sampled_from(["image", "img", "label", "labels", "fine_label", ""]), columns, max_size=3),
    metadata=notes,
    groups=st.sampled_from([1, 4]),
    label=st.lists(st.integers(0, 2), min_size=4, max_size=4) | st.none(),
)
def test_parquet_of_any_schema_is_prepared_or_a_message(
    table: dict[str, Any], metadata: dict[str, str], groups: int, label: list[int] | None, scratch: Path
) -> None:
    if label is not None:
        table = {"image": [picture(index) for index in range(4)], **table, "label": label}
    whole = pa.table({name: pa.array(values) for name, values in table.items()})
    noted = {name.encode(): text.encode("utf-8", "replace") for name, text in metadata.items()}
    file = scratch / "own.parquet"
    file.write_bytes(parquet_bytes(whole.replace_schema_metadata(noted), row_group_size=groups))
    prepared(file, scratch, 8)


names = st.sampled_from(
    [
        *("a", "b", "c", "train", "test", "val", "TRAIN", "a b", "ü", "图", ".hidden", "-rf", "%s", "x" * 200),
        *("a\nb", "[x]", "a*?", "{0}", "~", "\udcff\udcfe", "..x", "x..", " ", "'", '"', "a;b", "CON"),
        *("train.parquet", "test-00000-of-00002.parquet", "001.png", "x.JPG", "x.gif", "readme.txt"),
    ]
)
pictures = st.builds(picture, st.integers(0, 5), st.sampled_from(KINDS), st.booleans())
contents = st.one_of(
    pictures,
    pictures.flatmap(mutated),
    st.just(b""),
    st.binary(max_size=20),
    st.sampled_from([valid_parquet(False, "none"), valid_parquet(True, "snappy")]),
    st.sampled_from(["../outside", "loop", ".", "/dev/zero", "/dev/null", "missing", "/"]),  # links
)
folders = st.dictionaries(names, st.dictionaries(names, contents, max_size=4) | contents, max_size=5)
class_folders = st.dictionaries(
    st.sampled_from(["a", "b", "c", "ü d", "\udcff"]),
    st.dictionaries(st.sampled_from(["1.png", "2.png", "3.jpg", "4.gif"]), contents, min_size=1, max_size=3),
    min_size=1,
    max_size=3,
)


def build(place: Path, tree: Any) -> None:
    if isinstance(tree, bytes):
        place.write_bytes(tree)
    elif isinstance(tree, str):
        place.symlink_to(place.name if tree == "loop" else tree)
    else:
        place.mkdir()
        for name, inner in tree.items():
            build(place / name, inner)


@fuzz(600)
@given(tree=folders | class_folders, size=st.sampled_from([None, 8, 8, 8]))
def test_folders_of_anything_are_prepared_or_a_message(tree: Any, size: int | None, scratch: Path) -> None:
    own = scratch / "own"
    build(own, tree)
    try:
        prepared(own, scratch, size)
    finally:
        shutil.rmtree(own)


@pytest.fixture(scope="module", params=["decoded", "encoded"])
def whole(request: pytest.FixtureRequest, scratch: Path) -> Path:
    """A data set prepared in one of the two ways of keeping pictures, to be damaged."""
    source = scratch / "source"
    source.mkdir(exist_ok=True)
    (source / "train.parquet").write_bytes(valid_parquet(False, "none"))
    most = 2**30 if request.param == "decoded" else 1
    root = scratch / f"whole-{request.param}"
    return prepare(source / "train.parquet", scratch, prepared_root=root, max_decoded_bytes=most)


@fuzz(250)
@given(data=st.data(), resized=st.booleans())
def test_damaged_prepared_data_are_read_or_a_message(
    data: st.DataObject, resized: bool, scratch: Path, whole: Path
) -> None:
    root = scratch / "damaged"
    shutil.copytree(whole.parent, root)
    try:
        folder = root / whole.name
        file = data.draw(st.sampled_from(sorted(folder.iterdir())))
        changed = data.draw(mutated(file.read_bytes()))
        file.write_bytes(changed)
        if resized and file.suffix == ".arrow":  # else its size alone gives most changes away
            text = (folder / "manifest.json").read_text()
            manifest = json.loads(text)
            for shards in manifest["shards"].values():
                for shard in shards:
                    if shard["file"] == file.name:
                        shard["size"] = len(changed)
            (folder / "manifest.json").write_text(json.dumps(manifest))
        with only_user_errors():
            opened = open_prepared(scratch / "source" / "train.parquet", scratch, prepared_root=root)
            for name in ("train", "validation", "test"):
                split = opened.split(name)
                split.images(np.arange(len(split)))
    finally:
        shutil.rmtree(root)


@fuzz(75)
@given(data=st.data())
def test_a_preparation_that_was_killed_goes_on_whatever_its_journal_holds(
    data: st.DataObject, scratch: Path, whole: Path
) -> None:
    root = scratch / "killed"
    shutil.copytree(whole.parent, root)
    try:
        folder = root / whole.name
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").unlink()
        shards = [shard for part in manifest["shards"].values() for shard in part]
        lines = [{"identity": data.draw(st.sampled_from(["x", None, []]))}, *shards]
        journal = "".join(json.dumps(line) + "\n" for line in lines).encode()
        (folder / "journal.jsonl").write_bytes(data.draw(st.just(journal) | mutated(journal)))
        prepare(scratch / "source" / "train.parquet", scratch, prepared_root=root)
        verify_prepared(folder)
    finally:
        shutil.rmtree(root)
