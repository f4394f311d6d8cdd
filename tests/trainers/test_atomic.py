"""A file is there whole or not at all, whatever ends the writing."""

import os
import re
from pathlib import Path

import pytest

from trainers.atomic import clear_partials, write_atomically, write_json, write_text

REPOSITORY = Path(__file__).parents[2]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_text(file, "old")

    def fail(partial: Path) -> None:
        partial.write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"):
        write_atomically(file, fail)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert file.read_text() == "old"


def test_what_a_killed_process_left_half_written_is_cleared_and_was_never_the_file(tmp_path: Path) -> None:
    (tmp_path / ".file.123.partial").write_text("half")
    write_json(tmp_path / "file", {"a": 1})
    clear_partials(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("durable", [True, False])
def test_only_what_can_be_made_again_is_not_brought_to_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, durable: bool
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", synced.append)
    write_text(tmp_path / "file", "text", durable=durable)
    assert (tmp_path / "file").read_text() == "text"
    assert bool(synced) is durable


def test_no_other_module_replaces_files_by_hand() -> None:
    own = REPOSITORY / "trainers" / "atomic.py"
    for package in ("trainers", "search_spaces", "study"):
        for path in (REPOSITORY / package).rglob("*.py"):
            if path != own:
                assert not re.search(r"\bos\.replace\(|\bpartial\.replace\(|unfinished\.replace\(", path.read_text()), (
                    path
                )
