"""What a search keeps on disk is counted from the disk."""

from pathlib import Path

from study.drive.disk import disk_line, size_below
from study.drive.tune_state import write_trial
from study.record.folder import StudyFolder


def test_sizes_are_those_of_all_files_below(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "file").write_bytes(b"12345")
    (tmp_path / "a" / "file").write_bytes(b"123")
    assert (size_below(tmp_path), size_below(tmp_path / "a" / "file"), size_below(tmp_path / "c")) == (8, 3, 0)


def test_the_line_counts_trials_and_those_that_keep_a_folder(tmp_path: Path) -> None:
    folder = StudyFolder(tmp_path)
    run = folder.run_dir("c-search-0000")
    run.mkdir(parents=True)
    (run / "last.safetensors").write_bytes(bytes(3 * 2**19))
    write_trial(folder.tune, "c-search-0001", None, "TERMINATED", 1)
    line = disk_line(folder, ["c-search-0000", "c-search-0001"])
    assert line.startswith("on disk: 2 trials keep 1.5 MiB in 1 run folders and 0.1 KiB of Tune's; ")
