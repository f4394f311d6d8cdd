"""What people bring: each row of docs/inputs.md. Whatever is left out, changed or assumed is said; the rest refused."""

import io
import json
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from trainers.data.loader import PreparedData, open_prepared
from trainers.data.prepare import prepare
from trainers.data.report import note_lines, report_lines
from trainers.errors import UserError

CLASSES = ("a", "b", "c")
rng = np.random.Generator(np.random.PCG64(0))


def noise(shape: Sequence[int], top: float = 255) -> np.ndarray:
    """Values from 0 to `top`, both of which occur."""
    values = rng.random(shape) * top
    values.flat[0], values.flat[1] = 0, top
    return values


def encoded(values: np.ndarray | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image = values if isinstance(values, Image.Image) else Image.fromarray(values)
    image.save(stream, format=kind, **options)
    return stream.getvalue()


def colour(kind: str = "PNG") -> bytes:
    return encoded(noise((12, 12, 3)).astype(np.uint8), kind)


def write(path: Path, data: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def plain(root: Path, classes: Sequence[str] = CLASSES, count: int = 4) -> Path:
    for name in classes:
        for index in range(count):
            write(root / name / f"{index}.png", colour())
    return root


def prepared(source: Path, tmp_path: Path, **options: Any) -> PreparedData:
    root = tmp_path / "prepared"
    prepare(source, tmp_path, prepared_root=root, **options)
    return open_prepared(source, tmp_path, prepared_root=root, image_size=options.get("image_size"))


def notes(data: PreparedData) -> str:
    return "\n".join(note_lines(data.manifest))


def total(data: PreparedData) -> int:
    return sum(sum(counts) for counts in data.manifest.class_counts.values())


class TestDeepPictures:
    @pytest.mark.parametrize(
        ("top", "dtype", "kind", "told"),
        [
            (4095, np.uint16, "PNG", r"0..4095 (12 bits)"),
            (255, np.uint16, "PNG", r"0..255 (8 bits)"),
            (65535, np.uint16, "PNG", r"0..65535 (16 bits)"),
            (1000, np.int32, "TIFF", r"0..1023 (10 bits)"),
            (1.0, np.float32, "TIFF", "0..1 scaled"),
            (255.0, np.float32, "TIFF", "0..255 scaled"),
        ],
    )
    @pytest.mark.parametrize("storage", ["decoded", "encoded"])
    def test_their_range_is_found_over_the_whole_set_and_said(
        self, top: float, dtype: type, kind: str, told: str, storage: str, tmp_path: Path
    ) -> None:
        for name in CLASSES:
            for index in range(4):
                values = noise((12, 12), top if index == 0 else 0.7 * top).astype(dtype)
                write(tmp_path / "own" / name / f"{index}.{kind.lower()}", encoded(values, kind))
        data = prepared(tmp_path / "own", tmp_path, max_decoded_bytes=2**30 if storage == "decoded" else 0)
        assert data.manifest.storage == storage and data.channels == 1
        assert f"changed: 12 grey pictures of {'16 bits or more' if dtype != np.float32 else 'floats'}" in notes(data)
        assert told in notes(data)
        train = data.split("train", 0.0)
        images = train.images(np.arange(len(train)))
        assert images.unique().numel() > 64, "levels are kept"
        assert images.amax(dim=(1, 2, 3)).min() > 150, "no picture is dark"

    def test_negative_values_are_scaled_from_the_smallest_to_the_largest(self, tmp_path: Path) -> None:
        for name in CLASSES:
            for index in range(2):
                write(
                    tmp_path / "own" / name / f"{index}.tif",
                    encoded((noise((8, 8), 4000) - 1000).astype(np.int32), "TIFF"),
                )
        data = prepared(tmp_path / "own", tmp_path)
        assert "values -1000 to 3000 found, -1000..3000 scaled" in notes(data)

    def test_a_few_dark_ones_among_brighter_are_odd(self, tmp_path: Path) -> None:
        for name in CLASSES:
            for index in range(4):
                top = 4095 if (name, index) == ("a", 0) else 65535
                write(tmp_path / "own" / name / f"{index}.png", encoded(noise((8, 8), top).astype(np.uint16)))
        told = notes(prepared(tmp_path / "own", tmp_path))
        assert "odd: 1 picture that uses less than an eighth of that range" in told

    def test_values_that_are_not_finite_are_damage(self, tmp_path: Path) -> None:
        plain(tmp_path / "own")
        values = noise((8, 8), 1.0).astype(np.float32)
        values[3, 3] = np.nan
        write(tmp_path / "own" / "b" / "x.tif", encoded(values, "TIFF"))
        with pytest.raises(UserError, match=r"1 x holds values that are not finite .*b/x\.tif"):
            prepared(tmp_path / "own", tmp_path, image_size=8)

    def test_black_pictures_are_odd(self, tmp_path: Path) -> None:
        write(plain(tmp_path / "own") / "a" / "black.png", encoded(np.zeros((12, 12, 3), np.uint8)))
        assert "odd: 1 picture of one value everywhere" in notes(prepared(tmp_path / "own", tmp_path))


class TestFolders:
    def test_nested_pictures_and_other_suffixes_are_used_and_nested_ones_said(self, tmp_path: Path) -> None:
        own = plain(tmp_path / "own")
        for name in CLASSES:
            for index in range(2):
                write(own / name / "2024" / "may" / f"{index}.jpg", colour("JPEG"))
                write(own / name / f"{index}.jfif", colour("JPEG"))
        write(own / "a" / "no_suffix", colour())
        write(own / "a" / "odd.jpg_medium", colour("JPEG"))
        data = prepared(own, tmp_path)
        assert total(data) == 12 + 6 + 6 + 2
        assert "assumed: 6 pictures below a class folder, counted for the class above: a/2024/may" in notes(data)
        assert "assumed: 2 files taken as pictures by content" in notes(data)

    def test_dead_links_are_named_all_at_once_or_left_out_and_recorded(self, tmp_path: Path) -> None:
        own = plain(tmp_path / "own")
        for name in CLASSES:
            (own / name / "gone.jpg").symlink_to("/nowhere/gone.jpg")
            (own / name / "no_suffix").symlink_to("/nowhere/blob")
        with pytest.raises(UserError, match=r"6 of 18 pictures cannot be used\n.*6 x is a dead link .*") as refused:
            prepared(own, tmp_path)
        assert all(f"{name}/gone.jpg" in str(refused.value) for name in CLASSES)
        data = prepared(own, tmp_path, skip_damaged=True)
        assert total(data) == 12
        assert "left out: 6 pictures, each of which is a dead link" in notes(data)

    def test_a_dead_link_in_place_of_a_class_is_refused(self, tmp_path: Path) -> None:
        (plain(tmp_path / "own") / "d").symlink_to("/nowhere/d")
        with pytest.raises(UserError, match=r"own/d is a dead link among the class folders"):
            prepared(tmp_path / "own", tmp_path, skip_damaged=True)

    def test_a_link_that_leads_back_ends(self, tmp_path: Path) -> None:
        own = plain(tmp_path / "own")
        for name, target in (("loop", own / "a"), ("up", own), ("everything.jpg", Path("/"))):
            (own / "a" / name).symlink_to(target)
        data = prepared(own, tmp_path)
        assert total(data) == 12
        assert "left out: 3 links to a folder that is looked at already or holds the data set" in notes(data)

    def test_a_folder_that_cannot_be_read_is_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        own = plain(tmp_path / "own")
        listed = Path.iterdir

        def denied(self: Path) -> Iterator[Path]:
            if self.name == "b":
                raise PermissionError(13, os.strerror(13), str(self))
            return listed(self)

        monkeypatch.setattr(Path, "iterdir", denied)
        with pytest.raises(UserError, match=r"own/b cannot be looked at \(Permission denied\); make it readable"):
            prepared(own, tmp_path)

    def test_what_systems_leave_behind_is_no_class_and_no_picture(self, tmp_path: Path) -> None:
        own = plain(tmp_path / "own")
        write(own / "__MACOSX" / "a" / "._0.png", b"\0\5\x16\7")
        write(own / ".DS_Store", b"x")
        write(own / "a" / "Thumbs.db", b"x")
        write(own / "a" / "._0.png", b"\0\5\x16\7")
        write(own / "a" / ".ipynb_checkpoints" / "0.png", colour())
        write(own / ".git" / "x.png", colour())
        data = prepared(own, tmp_path)
        assert data.class_names == CLASSES and total(data) == 12
        assert "left out: 5 entries that a system put there" in notes(data)
        assert "left out: 1 hidden entry: .git" in notes(data)

    def test_files_that_are_no_pictures_are_counted_by_kind(self, tmp_path: Path) -> None:
        own = plain(tmp_path / "own")
        for index in range(3):
            write(own / "a" / f"{index}.xml", b"<?xml version='1.0'?><annotation/>")
            write(own / "b" / f"{index}.heic", b"\0\0\0\x18ftypheic")
        write(own / "labels.csv", b"a,b")
        write(own / "loose.png", colour())
        told = notes(prepared(own, tmp_path))
        assert "left out: 3 files that are no pictures, .xml: a/0.xml" in told
        assert "left out: 3 files, each of which is a HEIC picture, a format that is not read (.heic)" in told
        assert "left out: 1 file beside the class folders: labels.csv" in told
        assert "left out: 1 picture beside the class folders, of no class: loose.png" in told

    @pytest.mark.parametrize(
        ("train", "test", "other"), [("Training", "Testing", "dev"), ("TRAIN", "tst", "valid"), ("train", "test", None)]
    )
    def test_splits_go_by_many_names_and_are_said(
        self, train: str, test: str, other: str | None, tmp_path: Path
    ) -> None:
        own = tmp_path / "own"
        for split in (train, test, *([other] if other else [])):
            plain(own / split)
        data = prepared(own, tmp_path)
        assert data.class_names == CLASSES
        assert sum(data.manifest.class_counts["test"]) == 12
        assert sum(data.manifest.class_counts["train"]) == (24 if other else 12)
        said = f"{test}/ as test, {train}/ as train" in notes(data) if other else "split" not in notes(data)
        assert said or f"{other}/ as train" in notes(data)

    def test_folders_beside_splits_are_refused_with_the_names_that_work(self, tmp_path: Path) -> None:
        for split in ("train", "test", "extra", "more"):
            plain(tmp_path / "own" / split)
        with pytest.raises(UserError, match=r"test, train, .* beside extra, more, .*names of splits are train"):
            prepared(tmp_path / "own", tmp_path)

    def test_classes_called_train_and_plane_are_classes(self, tmp_path: Path) -> None:
        assert prepared(plain(tmp_path / "own", ("plane", "train")), tmp_path).class_names == ("plane", "train")

    def test_the_folder_of_an_unpacked_archive_is_looked_into(self, tmp_path: Path) -> None:
        plain(tmp_path / "own" / "archive" / "pictures")
        (tmp_path / "own" / "__MACOSX").mkdir()
        data = prepared(tmp_path / "own", tmp_path)
        assert data.class_names == CLASSES
        assert "assumed: 1 folder is the whole data set: archive/" in notes(data)

    def test_all_empty_class_folders_are_named_at_once(self, tmp_path: Path) -> None:
        for name in ("x", "y"):
            (plain(tmp_path / "own") / name).mkdir()
        with pytest.raises(UserError, match=r"own/x, .*own/y hold no pictures"):
            prepared(tmp_path / "own", tmp_path)


class TestNames:
    @pytest.mark.parametrize(
        "names", [("train_set", "test_set"), ("train1", "test1"), ("trainval", "test"), ("train-images", "holdout")]
    )
    def test_folders_that_sound_like_splits_become_no_classes(self, names: tuple[str, str], tmp_path: Path) -> None:
        for name in names:
            plain(tmp_path / "own" / name)
        with pytest.raises(UserError, match="names of splits are train, training; test"):
            prepared(tmp_path / "own", tmp_path)

    def test_a_class_may_sound_like_a_split(self, tmp_path: Path) -> None:
        data = prepared(plain(tmp_path / "own", ("test_tube", "train_station")), tmp_path)
        assert data.class_names == ("test_tube", "train_station")

    def test_classes_whose_names_look_the_same_and_are_encoded_otherwise_are_odd(self, tmp_path: Path) -> None:
        told = notes(prepared(plain(tmp_path / "own", ("caf\u00e9", "cafe\u0301", "tea")), tmp_path))
        assert "odd: 1 pair of classes that differ in case, spaces or encoding only" in told

    @pytest.mark.parametrize("name", ["dev", "valid-00000-of-00001", "Validation_matched"])
    def test_parquet_files_of_a_split_by_another_word_are_said(self, name: str, tmp_path: Path) -> None:
        (tmp_path / "own").mkdir()
        for file in ("train", name):
            table = pa.table({"image": pa.array([colour() for _ in range(6)]), "label": pa.array(["a", "b"] * 3)})
            pq.write_table(table, tmp_path / "own" / f"{file}.parquet")
        told = notes(prepared(tmp_path / "own", tmp_path))
        assert f"assumed: 1 split by file name: {name}.parquet as train" in told

    def test_a_parquet_file_that_is_none_is_said_to_be_what_it_is(self, tmp_path: Path) -> None:
        file = write(tmp_path / "own.parquet", b"version https://git-lfs.github.com/spec/v1\n")
        with pytest.raises(UserError, match="it is a Git LFS pointer"):
            prepared(file, tmp_path)


class TestDamage:
    KINDS = (
        ("cut short", colour("JPEG")[:-60], "is cut short"),
        ("empty", b"", r"is empty \(0 bytes\)"),
        ("zeros", bytes(500), "holds zero bytes only"),
        ("page", b"<!DOCTYPE html><title>Virus scan warning</title>", "is a web page, not a picture"),
        ("pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "is a Git LFS pointer"),
        ("text", b"hello", "is not a picture that can be read"),
        ("heic", b"\0\0\0\x18ftypheic" + bytes(50), "is a HEIC picture"),
    )

    def test_all_damaged_pictures_are_named_at_once_in_words(self, tmp_path: Path) -> None:
        own = plain(tmp_path / "own")
        for index, (_, data, _) in enumerate(self.KINDS * 2):
            write(own / CLASSES[index % 3] / f"bad{index}.jpg", data)
        with pytest.raises(UserError, match="own: 14 of 26 pictures cannot be used") as refused:
            prepared(own, tmp_path)
        for index in range(14):
            assert f"{CLASSES[index % 3]}/bad{index}.jpg" in str(refused.value)
        for _, _, what in self.KINDS:
            assert re.search(f"2 x {what}", str(refused.value)), what
        assert "--skip-damaged" in str(refused.value)

    def test_left_out_they_are_recorded_and_the_rest_is_as_if_they_were_not_there(self, tmp_path: Path) -> None:
        own = plain(tmp_path / "own")
        clean = prepared(own, tmp_path)
        for index, (_, data, _) in enumerate(self.KINDS):
            write(own / CLASSES[index % 3] / f"{index % 3}x{index}.jpg", data)
        folder = prepare(own, tmp_path, prepared_root=tmp_path / "skipped", skip_damaged=True)
        data = open_prepared(own, tmp_path, prepared_root=tmp_path / "skipped")
        assert data.fingerprint == clean.fingerprint
        recorded = json.loads((folder / "manifest.json").read_text())["notes"]
        assert (
            sum(note["count"] for note in recorded if "which is" in note["what"] or "which holds" in note["what"]) == 7
        )

    def test_a_class_of_damaged_pictures_only_is_refused(self, tmp_path: Path) -> None:
        own = plain(tmp_path / "own")
        for index in range(3):
            write(own / "d" / f"{index}.jpg", b"")
        with pytest.raises(UserError, match="nothing is left of d in train"):
            prepared(own, tmp_path, skip_damaged=True)

    def test_an_unreadable_file_is_damage(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        own = plain(tmp_path / "own")
        read = Path.read_bytes

        def denied(self: Path) -> bytes:
            if self.name == "1.png":
                raise PermissionError(13, os.strerror(13))
            return read(self)

        monkeypatch.setattr(Path, "read_bytes", denied)
        with pytest.raises(UserError, match=r"3 x cannot be read \(Permission denied\)"):
            prepared(own, tmp_path)


class TestChanges:
    def test_what_reading_pictures_changes_is_counted(self, tmp_path: Path) -> None:
        own = plain(tmp_path / "own")
        values = noise((12, 12, 3)).astype(np.uint8)
        turned = Image.Exif()
        turned[0x0112] = 6
        write(own / "a" / "turned.jpg", encoded(values, "JPEG", exif=turned))
        write(own / "a" / "wide.png", encoded(noise((12, 24, 3)).astype(np.uint8)))
        write(own / "b" / "clear.png", encoded(noise((12, 12, 4)).astype(np.uint8)))
        write(own / "b" / "grey.png", encoded(noise((12, 12)).astype(np.uint8)))
        write(own / "c" / "ink.jpg", encoded(Image.fromarray(values).convert("CMYK"), "JPEG"))
        frames = [Image.fromarray(noise((12, 12)).astype(np.uint8)) for _ in range(2)]
        write(own / "c" / "moving.gif", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
        told = notes(prepared(own, tmp_path, image_size=12))
        for what in (
            "1 picture that is not square, resized to the square input without keeping the ratio",
            "1 picture with a camera's orientation tag, which is not applied",
            "1 picture of several frames or pages, of which the first is used",
            "1 picture with transparency, which is dropped",
            "1 picture in printer's colours (CMYK), converted to RGB",
        ):
            assert f"changed: {what}" in told
        assert "grey pictures among colour ones" in told or "1 grey picture among colour ones" in told

    def test_plain_pictures_have_no_notes(self, tmp_path: Path) -> None:
        assert notes(prepared(plain(tmp_path / "own"), tmp_path)) == ""

    def test_copies_are_odd_under_two_classes_and_on_both_sides_of_a_split(self, tmp_path: Path) -> None:
        own = tmp_path / "own"
        plain(own / "train")
        plain(own / "test")
        same = colour()
        write(own / "train" / "a" / "same.png", same)
        write(own / "test" / "b" / "same.png", same)
        told = notes(prepared(own, tmp_path))
        assert "odd: 1 picture that is a copy of another" in told
        assert "odd: 1 picture that is there under several classes" in told
        assert "odd: 1 picture that is in train and in test" in told

    def test_other_colour_spaces_and_ranges_are_said(self, tmp_path: Path) -> None:
        own = plain(tmp_path / "own")
        write(
            own / "a" / "lab.tif", encoded(Image.fromarray(noise((12, 12, 3)).astype(np.uint8)).convert("LAB"), "TIFF")
        )
        write(own / "a" / "deep.ppm", b"P6\n12 12\n4095\n" + noise((12, 12, 3), 4095).astype(">u2").tobytes())
        told = notes(prepared(own, tmp_path))
        assert "changed: 1 picture in another colour space (LAB, YCbCr or HSV), converted to RGB: " in told
        assert "changed: 1 picture in PPM or PGM whose white is not 255, scaled to 8 bits: " in told


class TestLabels:
    def table(self, tmp_path: Path, column: pa.Array, name: str = "own", **more: pa.Array) -> Path:
        images = pa.array([colour() for _ in range(len(column))], pa.binary())
        path = tmp_path / f"{name}.parquet"
        pq.write_table(pa.table({"image": images, "label": column, **more}), path)
        return path

    @pytest.mark.parametrize("kind", ["text", "category", "large"])
    def test_text_and_categories_are_classes_in_sorted_order(self, kind: str, tmp_path: Path) -> None:
        column = pa.array(["emu", "cat", "dog"] * 4)
        column = {"text": column, "category": column.dictionary_encode(), "large": column.cast(pa.large_string())}[kind]
        data = prepared(self.table(tmp_path, column), tmp_path)
        assert data.class_names == ("cat", "dog", "emu")
        assert "assumed: 3 classes from labels of text, in sorted order: cat=0, dog=1, emu=2" in notes(data)
        assert data.manifest.class_counts == {"train": (3, 3, 3), "test": (1, 1, 1)}

    def test_text_of_declared_classes_keeps_their_order(self, tmp_path: Path) -> None:
        path = self.table(tmp_path, pa.array(["emu", "cat"] * 4))
        names = {"class_names": json.dumps(["emu", "ape", "cat"])}
        pq.write_table(pq.read_table(path).replace_schema_metadata(names), path)
        data = prepared(path, tmp_path)
        assert data.class_names == ("emu", "ape", "cat")
        assert "without a picture in train: never learnt: ape" in notes(data)
        pq.write_table(pq.read_table(path).replace_schema_metadata({"class_names": '["emu", "ape"]'}), path)
        with pytest.raises(UserError, match="labels that no declared class has: cat"):
            prepared(path, tmp_path / "again")

    def test_true_and_false_are_two_classes(self, tmp_path: Path) -> None:
        data = prepared(self.table(tmp_path, pa.array([True, False] * 4)), tmp_path)
        assert data.class_names == ("false", "true")

    def test_small_unsigned_integers_are_labels(self, tmp_path: Path) -> None:
        assert prepared(self.table(tmp_path, pa.array([0, 1] * 4, pa.uint8())), tmp_path).num_classes == 2

    @pytest.mark.parametrize(
        ("column", "message"),
        [
            (pa.array([0.0, 1.0] * 3), r'type double; .*t\["label"\].cast\("int64"\)'),
            (pa.array([1, 2] * 3), r'from 1 to 2; .*pc.subtract\(t\["label"\], 1\)'),
            (pa.array([0, 7] * 3), r'from 0 to 7; .*t\["label"\].cast\("string"\)'),
            (pa.array([0, None, 1, None, 0, 1]), r'2 such row\(s\): 1, 3; .*t.filter\(pc.is_valid\(t\["label"\]\)\)'),
            (pa.array(["a", "", None, "b"]), r"2 such row\(s\): 1, 2; .*pc.not_equal"),
            (pa.array([[0], [1]] * 3), r"type list.*pc.list_element"),
            (pa.nulls(4), "holds nulls only"),
        ],
        ids=["float", "one-based", "gaps", "null", "empty text", "lists", "nulls"],
    )
    def test_what_cannot_be_meant_is_refused_with_the_line_that_mends_it(
        self, column: pa.Array, message: str, tmp_path: Path
    ) -> None:
        with pytest.raises(UserError, match=message):
            prepared(self.table(tmp_path, column), tmp_path)

    @pytest.mark.parametrize(
        ("column", "line"),
        [
            (pa.array([0.0, 1.0] * 4), 'cast("int64")'),
            (pa.array([1, 2] * 4), "pc.subtract"),
            (pa.array([0, 7] * 4), 'cast("string")'),
            (pa.array([0, None, 1, 1, 0, 1, 0, 0]), "pc.is_valid"),
            (pa.array(["a", "", None, "b", "a", "b", "b", "a"]), "pc.not_equal"),
        ],
        ids=["float", "one-based", "gaps", "null", "empty text"],
    )
    def test_the_line_that_is_given_mends_the_table(self, column: pa.Array, line: str, tmp_path: Path) -> None:
        path = self.table(tmp_path, column)
        with pytest.raises(UserError) as refused:
            prepared(path, tmp_path)
        code = str(refused.value).split("`")[1]
        assert line in code
        scope = {"t": pq.read_table(path)}
        exec(code, scope)
        pq.write_table(scope["t"], path)
        assert prepared(path, tmp_path).num_classes == 2

    def test_columns_that_are_not_read_are_named(self, tmp_path: Path) -> None:
        path = self.table(tmp_path, pa.array([0, 1] * 3), caption=pa.array(["x"] * 6), fine_label=pa.array([0] * 6))
        told = notes(prepared(path, tmp_path))
        assert "left out: 2 columns; pictures are read from image, labels from label: caption, fine_label" in told

    def test_pictures_beside_parquet_files_are_counted(self, tmp_path: Path) -> None:
        own = tmp_path / "own"
        own.mkdir()
        self.table(own, pa.array([0, 1] * 3), "train")
        plain(own / "raw")
        assert "left out: 12 picture files beside the Parquet files" in notes(prepared(own, tmp_path))


class TestClasses:
    def test_a_class_of_one_picture_is_said_to_be_in_train_only(self, tmp_path: Path) -> None:
        own = plain(tmp_path / "own")
        write(own / "rare" / "0.png", colour())
        write(own / "scarce" / "0.png", colour())
        write(own / "scarce" / "1.png", colour())
        data = prepared(own, tmp_path)
        assert "odd: 1 class too small, in train only, neither validated nor tested: rare (1 picture)" in notes(data)
        assert "odd: 1 class too small, not validated: scarce (2 pictures)" in notes(data)
        lines = report_lines(data.manifest)
        assert [line.split() for line in lines if line.strip().startswith("rare")] == [["rare", "1", "0", "0"]]

    def test_a_large_class_is_said_with_its_share(self, tmp_path: Path) -> None:
        own = plain(tmp_path / "own", ("common",), 38)
        plain(own, ("scarce",), 2)
        told = notes(prepared(own, tmp_path))
        assert "odd: 1 class so large that accuracy flatters (95.0 % of the pictures" in told
        assert "see the balanced accuracy beside it: common" in told

    def test_classes_that_differ_in_case_only_are_odd(self, tmp_path: Path) -> None:
        told = notes(prepared(plain(tmp_path / "own", ("Cat", "cat", "dog")), tmp_path))
        assert "odd: 1 pair of classes that differ in case, spaces or encoding only: Cat = cat?" in told

    def test_every_class_has_a_line_with_its_pictures_by_split(self, tmp_path: Path) -> None:
        data = prepared(plain(tmp_path / "own", count=20), tmp_path)
        table = [line.split() for line in report_lines(data.manifest)[1:5]]
        assert table == [["class", "train", "validation", "test"], *([name, "15", "2", "3"] for name in CLASSES)]
        assert [len(data.split(name)) for name in ("train", "validation", "test")] == [45, 6, 9]

    def test_of_many_classes_the_largest_and_smallest_have_a_line(self, tmp_path: Path) -> None:
        own = plain(tmp_path / "own", [f"c{index:02d}" for index in range(50)], 2)
        write(own / "c31" / "more.png", colour())
        lines = report_lines(prepared(own, tmp_path).manifest)
        assert lines[2].split()[0] == "c31"
        assert any("... 30 classes of sizes between" in line for line in lines)


def test_a_messy_folder_as_people_have_it_is_prepared_and_everything_about_it_said(tmp_path: Path) -> None:
    own = tmp_path / "holiday"
    for name in ("Beach", "city", "forest"):
        for index in range(12):
            write(own / "archive" / name / f"IMG_{index:04d}.JPG", colour("JPEG"))
        write(own / "archive" / name / "2023" / "old.jpeg", encoded(noise((9, 16, 3)).astype(np.uint8), "JPEG"))
        write(own / "archive" / name / "Thumbs.db", b"x")
        write(own / "archive" / name / "notes.txt", b"nice")
    write(own / "__MACOSX" / "archive" / "._Beach", b"x")
    write(own / "archive" / "city" / "cut.jpg", colour("JPEG")[:-60])
    write(own / "archive" / "night" / "moon.png", encoded(noise((30, 30), 4095).astype(np.uint16)))
    with pytest.raises(UserError, match=r"1 of 41 pictures .*\n.*is cut short .*city/cut\.jpg"):
        prepared(own, tmp_path, image_size=16)
    data = prepared(own, tmp_path, image_size=16, skip_damaged=True)
    assert data.class_names == ("Beach", "city", "forest", "night")
    assert total(data) == 40
    kinds = [line.split(":")[0] for line in note_lines(data.manifest)]
    assert {"left out", "changed", "assumed", "odd"} == set(kinds)
    assert "in train only, neither validated nor tested: night (1 picture)" in notes(data)
    assert "0..4095 (12 bits)" in notes(data)
