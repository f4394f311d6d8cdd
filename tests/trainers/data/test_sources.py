"""Every layout that data come in gives the same labelled pictures."""

import hashlib
import io
import pickle
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainers.data.catalog import CATALOG
from trainers.data.image_source import ImageSource
from trainers.data.loader import open_prepared
from trainers.data.locate import choose_dataset, find_source
from trainers.data.originals import original_source
from trainers.data.prepare import prepare
from trainers.errors import UserError
from trainers.torchvision_compat import torchvision_module


def source_at(path: Path, dataset: str | Path | None = None) -> ImageSource:
    return find_source(choose_dataset(dataset or path), path, source=path, download=False)


def all_bytes(source: ImageSource) -> list[bytes]:
    return [source.train.picture(row) for row in range(len(source.train.labels))]


class TestParquet:
    def test_hub_layout_with_shards_in_a_data_folder(
        self, tmp_path: Path, write_parquet: Callable[..., Path], picture: Callable[..., bytes]
    ) -> None:
        pictures = [picture(index) for index in range(20)]
        labels = [index % 2 for index in range(20)]
        for shard, rows in enumerate((slice(0, 12), slice(12, 20))):
            path = tmp_path / "cats" / "data" / f"train-{shard:05d}-of-00002.parquet"
            write_parquet(path, pictures[rows], labels[rows], hub=True, class_names=["cat", "dog"])
        source = source_at(tmp_path / "cats")
        assert source.class_names == ("cat", "dog")
        assert source.test is None
        assert source.train.labels.tolist() == labels
        assert all_bytes(source) == pictures
        assert "train-00001-of-00002.parquet row 3" in source.train.where(15)

    def test_column_names_of_the_hub_and_fine_labels_are_understood(
        self, tmp_path: Path, write_parquet: Callable[..., Path], picture: Callable[..., bytes]
    ) -> None:
        pictures = [picture(index) for index in range(4)]
        write_parquet(
            tmp_path / "train.parquet",
            pictures,
            [0, 1, 2, 0],
            hub=True,
            image_column="img",
            label_column="fine_label",
            class_names=["a", "b", "c"],
        )
        source = source_at(tmp_path)
        assert source.class_names == ("a", "b", "c")
        assert all_bytes(source) == pictures

    def test_validation_files_count_as_training_images_and_test_files_stay_test(
        self, tmp_path: Path, write_parquet: Callable[..., Path], picture: Callable[..., bytes]
    ) -> None:
        for index, split in enumerate(("train", "validation", "test")):
            name = f"{split}-00000-of-00001.parquet"
            write_parquet(tmp_path / name, [picture(10 * index), picture(10 * index + 1)], [0, 1])
        source = source_at(tmp_path)
        assert source.test is not None
        assert (len(source.train.labels), len(source.test.labels)) == (4, 2)
        assert source.test.picture(1) == picture(21)

    def test_missing_shard_is_named(
        self, tmp_path: Path, write_parquet: Callable[..., Path], picture: Callable[..., bytes]
    ) -> None:
        write_parquet(tmp_path / "train-00000-of-00002.parquet", [picture(0), picture(1)], [0, 1])
        with pytest.raises(UserError, match=r"train-00001-of-00002\.parquet"):
            source_at(tmp_path)

    def test_catalogued_data_set_is_found_in_the_data_root_whatever_its_spelling(
        self, tmp_path: Path, write_parquet: Callable[..., Path], picture: Callable[..., bytes]
    ) -> None:
        for split in ("train", "test"):
            pictures = [picture(index, (28, 28), "L") for index in range(20)]
            write_parquet(tmp_path / "mnist" / f"{split}.parquet", pictures, [i % 10 for i in range(20)])
        prepare("MNIST", tmp_path, image_size=28)
        assert open_prepared("mnist", tmp_path, image_size=28).name == "MNIST"

    def test_background_class_of_a_hub_copy_is_left_out(
        self, tmp_path: Path, write_parquet: Callable[..., Path], picture: Callable[..., bytes]
    ) -> None:
        names = ["accordion", "background_google", *(f"class{index:03d}" for index in range(100))]
        write_parquet(tmp_path / "train.parquet", [picture(i) for i in range(102)], list(range(102)), class_names=names)
        source = source_at(tmp_path, "Caltech101")
        assert len(source.class_names) == 101 and "background_google" not in source.class_names
        assert source.train.labels.tolist() == list(range(101))
        assert all_bytes(source)[1] == picture(2)


class TestClassFolders:
    def test_sorted_folder_names_are_the_classes(
        self, tmp_path: Path, write_class_folders: Callable[..., Path], picture: Callable[..., bytes]
    ) -> None:
        write_class_folders(tmp_path / "pets", {"dog": 3, "cat": 2})
        (tmp_path / "pets" / "cat" / "notes.txt").write_text("not a picture")
        source = source_at(tmp_path / "pets")
        assert source.class_names == ("cat", "dog")
        assert source.train.labels.tolist() == [0, 0, 1, 1, 1]
        assert source.test is None
        assert all_bytes(source)[0] == picture(1000)

    def test_train_and_test_level_is_kept(self, tmp_path: Path, write_class_folders: Callable[..., Path]) -> None:
        write_class_folders(tmp_path / "train", {"a": 3, "b": 2})
        write_class_folders(tmp_path / "val", {"a": 1, "b": 1})
        write_class_folders(tmp_path / "test", {"a": 1, "b": 2})
        source = source_at(tmp_path)
        assert source.test is not None
        assert (source.train.labels.tolist(), source.test.labels.tolist()) == ([0, 0, 0, 0, 1, 1, 1], [0, 1, 1])

    def test_native_size_and_grey_channels_are_found(
        self, tmp_path: Path, write_class_folders: Callable[..., Path]
    ) -> None:
        write_class_folders(tmp_path / "own", {"a": 4, "b": 4}, mode="L", size=(9, 9))
        prepare(tmp_path / "own", tmp_path)
        data = open_prepared(tmp_path / "own", tmp_path)
        assert (data.name, data.channels, data.image_size, data.num_classes) == ("own", 1, 9, 2)
        assert open_prepared(tmp_path / "own", tmp_path, image_size=9).path == data.path

    @pytest.mark.parametrize(("size", "shape"), [((9, 12), "9x12"), (None, "different sizes")])
    def test_without_one_square_size_the_input_size_is_asked_for(
        self, tmp_path: Path, write_class_folders: Callable[..., Path], size: tuple[int, int] | None, shape: str
    ) -> None:
        write_class_folders(tmp_path / "own", {"a": 2, "b": 2}, size=size or (9, 9))
        if size is None:
            write_class_folders(tmp_path / "own", {"c": 2}, size=(7, 7))
        with pytest.raises(UserError, match=f"{shape}.*--image-size"):
            prepare(tmp_path / "own", tmp_path)
        prepare(tmp_path / "own", tmp_path, image_size=8)


def idx_bytes(values: np.ndarray) -> bytes:
    """The idx format of MNIST's authors: two zero bytes, type 8 (uint8), rank, dimensions, values."""
    return struct.pack(f">BBBB{values.ndim}I", 0, 0, 8, values.ndim, *values.shape) + values.tobytes()


class TestOriginals:
    def test_mnist_idx_files(self, tmp_path: Path) -> None:
        raw = tmp_path / "MNIST" / "raw"
        raw.mkdir(parents=True)
        generator = np.random.Generator(np.random.PCG64(0))
        pictures = {}
        for split, count in (("train", 30), ("t10k", 20)):
            pictures[split] = generator.integers(0, 256, (count, 28, 28), dtype=np.uint8)
            (raw / f"{split}-images-idx3-ubyte").write_bytes(idx_bytes(pictures[split]))
            (raw / f"{split}-labels-idx1-ubyte").write_bytes(idx_bytes((np.arange(count) % 10).astype(np.uint8)))
        prepare("MNIST", tmp_path, image_size=28)
        data = open_prepared("MNIST", tmp_path, image_size=28)
        train = data.split("train", val_fraction=0)
        assert np.array_equal(train.images(np.arange(30)).numpy()[:, 0], pictures["train"])
        assert np.array_equal(data.split("test").images(np.arange(20)).numpy()[:, 0], pictures["t10k"])
        assert train.labels.tolist() == [index % 10 for index in range(30)]

    @pytest.mark.parametrize("begun", [False, True])
    def test_download_happens_only_when_asked_for_and_completes_what_was_begun(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
    ) -> None:
        raw = tmp_path / "MNIST" / "raw"
        if begun:
            raw.mkdir(parents=True)

        def download(_: object) -> None:
            raw.mkdir(parents=True, exist_ok=True)
            for split in ("train", "t10k"):
                (raw / f"{split}-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((10, 28, 28), np.uint8)))
                (raw / f"{split}-labels-idx1-ubyte").write_bytes(idx_bytes(np.arange(10, dtype=np.uint8)))

        monkeypatch.setattr(torchvision_module("torchvision.datasets").MNIST, "download", download)
        with pytest.raises(UserError, match=r"--download"):
            find_source(choose_dataset("MNIST"), tmp_path, source=None, download=False)
        source = find_source(choose_dataset("MNIST"), tmp_path, source=None, download=True)
        assert len(source.train.labels) == 10

    @pytest.mark.parametrize(("name", "fine"), [("CIFAR10", False), ("CIFAR100", True)])
    def test_cifar_batches(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, fine: bool) -> None:
        classes = CATALOG[name].num_classes
        kind = getattr(torchvision_module("torchvision.datasets"), name)
        folder = tmp_path / kind.base_folder
        folder.mkdir()
        generator = np.random.Generator(np.random.PCG64(0))

        def write(file: str, content: dict[str, object]) -> list[str]:
            data = pickle.dumps(content)
            (folder / file).write_bytes(data)
            return [file, hashlib.md5(data, usedforsecurity=False).hexdigest()]

        def batch(file: str) -> list[str]:
            data = generator.integers(0, 256, (classes, 3072), dtype=np.uint8)
            return write(file, {"data": data, "fine_labels" if fine else "labels": list(range(classes))})

        key = kind.meta["key"]
        _, meta_sum = write(kind.meta["filename"], {key: [f"class{index}" for index in range(classes)]})
        # torchvision unpickles only files with the published sums; these small stand-ins have their own.
        monkeypatch.setattr(kind, "train_list", [batch("part1"), batch("part2")])
        monkeypatch.setattr(kind, "test_list", [batch("part3")])
        monkeypatch.setattr(kind, "meta", {**kind.meta, "md5": meta_sum})
        source = find_source(choose_dataset(name), tmp_path, source=None, download=False)
        assert source.test is not None
        assert (len(source.train.labels), len(source.test.labels)) == (2 * classes, classes)
        with (folder / "part1").open("rb") as stream:
            first = pickle.load(stream)["data"][0].reshape(3, 32, 32).transpose(1, 2, 0)
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(all_bytes(source)[0]))), first)

    def test_cifar_files_with_other_checksums_are_refused(self, tmp_path: Path) -> None:
        (tmp_path / "cifar-10-batches-py").mkdir()
        (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(pickle.dumps({}))
        with pytest.raises(UserError, match=r"not found or corrupted.*--download"):
            find_source(choose_dataset("CIFAR10"), tmp_path, source=None, download=False)

    @pytest.mark.parametrize(
        ("name", "folder", "background"),
        [
            ("Caltech101", "caltech101/101_ObjectCategories", "BACKGROUND_Google"),
            ("Caltech256", "caltech256/256_ObjectCategories", "257.clutter"),
        ],
    )
    def test_caltech_folders_without_background(
        self, tmp_path: Path, write_class_folders: Callable[..., Path], name: str, folder: str, background: str
    ) -> None:
        classes = CATALOG[name].num_classes
        counts = {f"{index + 1:03d}.thing{index}": 2 for index in range(classes)}
        write_class_folders(tmp_path / folder, {**counts, background: 1}, size=(4, 4))
        prepare(name, tmp_path, image_size=4)
        data = open_prepared(name, tmp_path, image_size=4)
        assert data.class_names[:2] == ("thing0", "thing1") and data.num_classes == classes
        # Two pictures a class: 85/15 with at least one of each class in test.
        assert len(data.split("train", val_fraction=0)) == len(data.split("test")) == classes

    def test_oxford_pets_pools_the_published_splits(self, tmp_path: Path, picture: Callable[..., bytes]) -> None:
        root = tmp_path / "oxford-iiit-pet"
        (root / "images").mkdir(parents=True)
        (root / "annotations").mkdir()
        for split, first in (("trainval", 0), ("test", 5)):
            lines = []
            for index in range(37):
                for number in range(first, first + 5):
                    (root / "images" / f"breed{index:02d}_{number}.jpg").write_bytes(
                        picture(index, (8, 6), kind="JPEG")
                    )
                    lines.append(f"breed{index:02d}_{number} {index + 1} 1 1\n")
            (root / "annotations" / f"{split}.txt").write_text("".join(lines))
        prepare("OxfordPets", tmp_path, image_size=8)
        data = open_prepared("OxfordPets", tmp_path, image_size=8)
        assert data.num_classes == 37 and data.class_names[0] == "Breed00"
        assert np.bincount(data.split("test").labels).tolist() == [2] * 37  # round(0.15 * 10)

    def test_oxford_flowers_pools_the_published_splits(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture: Callable[..., bytes]
    ) -> None:
        from scipy.io import savemat

        kind = torchvision_module("torchvision.datasets").Flowers102
        root = tmp_path / "flowers-102"
        (root / "jpg").mkdir(parents=True)
        count = 3 * 102
        for number in range(1, count + 1):
            (root / "jpg" / f"image_{number:05d}.jpg").write_bytes(picture(number, (5, 5), kind="JPEG"))
        savemat(root / "imagelabels.mat", {"labels": np.arange(count) % 102 + 1})
        numbers = np.arange(1, count + 1)
        savemat(root / "setid.mat", {"trnid": numbers[:102], "valid": numbers[102:204], "tstid": numbers[204:]})
        sums = {
            key: (file, hashlib.md5((root / file).read_bytes(), usedforsecurity=False).hexdigest())
            for key, file in (("label", "imagelabels.mat"), ("setid", "setid.mat"))
        }
        monkeypatch.setattr(kind, "_file_dict", {**kind._file_dict, **sums})
        source = original_source(CATALOG["OxfordFlowers"], tmp_path, download=False)
        assert source.test is None and len(source.class_names) == 102
        assert source.train.labels.tolist() == [index % 102 for index in range(count)]
