"""What a user can get wrong with data: each is told before any work, with what is allowed and what to do."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainers.data import pictures
from trainers.data.loader import open_prepared
from trainers.data.prepare import prepare
from trainers.errors import UserError


def refused(dataset: Path | str, tmp_path: Path, message: str, **options: object) -> None:
    """Preparing fails with this message and leaves no prepared folder behind."""
    root = tmp_path / "refused"
    with pytest.raises(UserError, match=message):
        prepare(dataset, tmp_path, prepared_root=root, **options)
    assert not root.exists() or [entry.name for entry in root.iterdir() if entry.is_dir()] == []


def test_unknown_name_lists_what_is_allowed(tmp_path: Path) -> None:
    refused("ImageNet", tmp_path, r"'ImageNet' is unknown; use MNIST, CIFAR10, .*path")


def test_missing_data_root_is_named_with_the_command_that_downloads(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere \(the folder does not exist\).*study prepare CIFAR10.*--download"):
        prepare("CIFAR10", tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_opening_what_is_nowhere_names_the_prepare_command(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"study prepare MNIST"):
        open_prepared("MNIST", tmp_path)


def test_source_that_does_not_exist_is_named(tmp_path: Path) -> None:
    refused("MNIST", tmp_path, "gone does not exist", source=tmp_path / "gone")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 0}, "image size is 0"),
        ({"image_size": -8}, "image size is -8"),
        ({"image_size": 10**6}, "image size is 1000000"),
        ({"test_fraction": 0.0}, "test fraction is 0.0"),
        ({"test_fraction": 1.5}, "test fraction is 1.5"),
        ({"split_seed": -1}, "split seed is -1"),
    ],
)
def test_numbers_outside_their_range_are_refused(tmp_path: Path, options: dict[str, object], message: str) -> None:
    refused("Digits", tmp_path, message, **options)


@pytest.mark.parametrize("fraction", [-0.1, 1.0, float("nan")])
@pytest.mark.parametrize("split", ["train", "validation"])
def test_validation_fraction_outside_its_range_is_refused(tmp_path: Path, split: str, fraction: float) -> None:
    data = open_prepared("Digits", tmp_path)
    with pytest.raises(UserError, match="validation fraction"):
        data.split(split, val_fraction=fraction)


def test_unknown_split_lists_the_three(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="train, validation, test"):
        open_prepared("Digits", tmp_path).split("val")


class TestParquet:
    @pytest.mark.parametrize("max_decoded_bytes", [0, 2**30])
    def test_corrupt_picture_is_named_by_file_and_row(
        self,
        tmp_path: Path,
        write_parquet: Callable[..., Path],
        picture: Callable[..., bytes],
        max_decoded_bytes: int,
    ) -> None:
        pictures = [picture(index, (32, 32)) for index in range(20)]
        pictures[13] = pictures[13][: len(pictures[13]) // 2]
        path = write_parquet(tmp_path / "own.parquet", pictures, [index % 2 for index in range(20)])
        refused(path, tmp_path, r"1 x is cut short .*own\.parquet row 13", max_decoded_bytes=max_decoded_bytes)

    def test_bytes_that_are_no_picture_are_named(
        self, tmp_path: Path, write_parquet: Callable[..., Path], picture: Callable[..., bytes]
    ) -> None:
        path = write_parquet(tmp_path / "own.parquet", [picture(0), b"hello", picture(2)], [0, 1, 0])
        refused(path, tmp_path, r"is not a picture.*allowed formats are JPEG.*own\.parquet row 1")

    def test_missing_picture_is_named(
        self, tmp_path: Path, write_parquet: Callable[..., Path], picture: Callable[..., bytes]
    ) -> None:
        path = write_parquet(tmp_path / "own.parquet", [picture(0), None, picture(2), picture(3)], [0, 1, 0, 1])
        refused(path, tmp_path, r"has no picture bytes \(null\).*row 1")

    @pytest.mark.parametrize("wrong", [3, -1])
    def test_label_out_of_range_is_named(
        self, tmp_path: Path, write_parquet: Callable[..., Path], picture: Callable[..., bytes], wrong: int
    ) -> None:
        labels = [0, 1, 2, wrong]
        path = write_parquet(tmp_path / "x.parquet", [picture(i) for i in range(4)], labels, class_names="abc")
        refused(path, tmp_path, rf"x\.parquet row 3 has label {wrong}, outside 0\.\.2")

    def test_null_label_is_named(
        self, tmp_path: Path, write_parquet: Callable[..., Path], picture: Callable[..., bytes]
    ) -> None:
        path = write_parquet(tmp_path / "x.parquet", [picture(i) for i in range(3)], [0, None, 1])
        refused(path, tmp_path, r"x\.parquet row 1 has no label")

    def test_labels_with_gaps_need_a_declared_number_of_classes(
        self, tmp_path: Path, write_parquet: Callable[..., Path], picture: Callable[..., bytes]
    ) -> None:
        two = [picture(0), picture(1), picture(2), picture(3)]
        refused(write_parquet(tmp_path / "x.parquet", two, [1, 2, 1, 2]), tmp_path, "2 different labels from 1 to 2")
        declared = write_parquet(tmp_path / "y.parquet", two, [1, 2, 1, 2], metadata={"num_classes": "3"})
        prepare(declared, tmp_path)
        assert open_prepared(declared, tmp_path).num_classes == 3

    @pytest.mark.parametrize("column", ["image_column", "label_column"])
    def test_missing_column_lists_the_columns_there(
        self, tmp_path: Path, write_parquet: Callable[..., Path], picture: Callable[..., bytes], column: str
    ) -> None:
        path = write_parquet(tmp_path / "x.parquet", [picture(0), picture(1)], [0, 1], **{column: "foo"})
        refused(path, tmp_path, r"it has .*foo.*needed")

    def test_file_that_is_no_parquet_is_named(self, tmp_path: Path) -> None:
        (tmp_path / "x.parquet").write_bytes(b"PAR1 and nothing")
        refused(tmp_path / "x.parquet", tmp_path, r"x\.parquet cannot be read as Parquet")
        (tmp_path / "x.csv").write_text("a,b")
        refused(tmp_path / "x.csv", tmp_path, r"x\.csv is not a Parquet file")

    def test_other_number_of_classes_than_the_catalogue_is_refused(self, tmp_path: Path, small_parquet: Path) -> None:
        refused("CIFAR10", tmp_path, "has 3 classes and the data set has 10", source=small_parquet)

    def test_published_test_split_may_not_be_missing(
        self, tmp_path: Path, write_parquet: Callable[..., Path], picture: Callable[..., bytes]
    ) -> None:
        write_parquet(
            tmp_path / "CIFAR10" / "train.parquet", [picture(i) for i in range(20)], [i % 10 for i in range(20)]
        )
        refused("CIFAR10", tmp_path, "no test part")


class TestClassFolders:
    def test_empty_class_folder_is_named(self, tmp_path: Path, write_class_folders: Callable[..., Path]) -> None:
        write_class_folders(tmp_path / "own", {"a": 2, "b": 2, "hollow": 0})
        refused(tmp_path / "own", tmp_path, "hollow holds no pictures")

    def test_folder_without_class_folders_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "own").mkdir()
        refused(tmp_path / "own", tmp_path, "own holds no class folders")

    def test_single_class_is_refused(self, tmp_path: Path, write_class_folders: Callable[..., Path]) -> None:
        write_class_folders(tmp_path / "own", {"only": 4})
        refused(tmp_path / "own", tmp_path, "at least 2 needed")

    def test_train_and_test_with_different_classes_are_refused(
        self, tmp_path: Path, write_class_folders: Callable[..., Path]
    ) -> None:
        write_class_folders(tmp_path / "own" / "train", {"a": 2, "b": 2})
        write_class_folders(tmp_path / "own" / "test", {"a": 2, "c": 2})
        refused(tmp_path / "own", tmp_path, "different class folders .b, c")

    def test_corrupt_file_is_named(self, tmp_path: Path, write_class_folders: Callable[..., Path]) -> None:
        write_class_folders(tmp_path / "own", {"a": 3, "b": 3})
        (tmp_path / "own" / "b" / "001.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
        refused(tmp_path / "own", tmp_path, r"is cut short or corrupt.*b/001\.png")

    def test_source_edited_after_preparing_is_noticed(
        self, tmp_path: Path, write_class_folders: Callable[..., Path], picture: Callable[..., bytes]
    ) -> None:
        write_class_folders(tmp_path / "own", {"a": 3, "b": 3})
        prepare(tmp_path / "own", tmp_path)
        (tmp_path / "own" / "a" / "new.png").write_bytes(picture(77))
        with pytest.raises(UserError, match="changed since it was prepared"):
            open_prepared(tmp_path / "own", tmp_path)


def test_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(stream, format="PNG")
    monkeypatch.setattr(pictures, "MAX_PIXELS", 1000)
    with pytest.raises(UserError, match="too large to decode safely"):
        pictures.pixels(stream.getvalue(), 1, 8, "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(UserError, match="too large to decode safely"):
        pictures.pixels(stream.getvalue(), 1, 8, "bomb.png")
