"""Small pictures in every layout that data come in."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image


def picture_bytes(seed: int, size: tuple[int, int] = (12, 12), mode: str = "RGB", kind: str = "PNG") -> bytes:
    """An encoded picture of seeded noise, size (W, H)."""
    channels = (3,) if mode == "RGB" else ()
    values = np.random.Generator(np.random.PCG64(seed)).integers(0, 256, (size[1], size[0], *channels), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, format=kind)
    return stream.getvalue()


@pytest.fixture
def picture() -> Callable[..., bytes]:
    return picture_bytes


@pytest.fixture
def write_parquet() -> Callable[..., Path]:
    def write(
        path: Path,
        pictures: Sequence[bytes | None],
        labels: Sequence[int | None],
        *,
        hub: bool = False,
        image_column: str = "image",
        label_column: str = "label",
        class_names: Sequence[str] | None = None,
        metadata: Mapping[str, str] | None = None,
        row_group_size: int = 7,
    ) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        notes = dict(metadata or {})
        if hub:
            rows = [{"bytes": data, "path": f"{index}.png"} for index, data in enumerate(pictures)]
            images = pa.array(rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())]))
            if class_names is not None:
                feature = {"names": list(class_names), "_type": "ClassLabel"}
                features = {image_column: {"_type": "Image"}, label_column: feature}
                notes["huggingface"] = json.dumps({"info": {"features": features}})
        else:
            images = pa.array(pictures, pa.binary())
            if class_names is not None:
                notes["class_names"] = json.dumps(list(class_names))
        table = pa.table({image_column: images, label_column: pa.array(labels, pa.int64())})
        pq.write_table(table.replace_schema_metadata(notes), path, row_group_size=row_group_size)
        return path

    return write


@pytest.fixture
def write_class_folders() -> Callable[..., Path]:
    def write(root: Path, counts: Mapping[str, int], **options: object) -> Path:
        for label, (name, count) in enumerate(counts.items()):
            (root / name).mkdir(parents=True)
            for index in range(count):
                (root / name / f"{index:03d}.png").write_bytes(picture_bytes(1000 * label + index, **options))
        return root

    return write


@pytest.fixture
def small_parquet(tmp_path: Path, write_parquet: Callable[..., Path]) -> Path:
    """One's own data set: 60 colour pictures of 12x12 in 3 classes, with train and test files."""
    for split, count, offset in (("train", 48, 0), ("test", 12, 500)):
        pictures = [picture_bytes(offset + index) for index in range(count)]
        labels = [index % 3 for index in range(count)]
        write_parquet(tmp_path / "own" / f"{split}.parquet", pictures, labels, class_names=["a", "b", "c"])
    return tmp_path / "own"
