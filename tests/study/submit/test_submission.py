"""A study on a cluster: looked at, sent, begun as a job, followed and fetched, by commands that are recorded here."""

import json
from pathlib import Path
from typing import Any

import pytest

from study.drive.interrupt import INTERRUPTED
from study.submit.submission import MARKER, submit
from tests.study.small_study import load
from tests.study.submit.played_cluster import ROOT, Played, cluster_file, mark, pictures
from trainers.errors import UserError


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def submitted(folder: Path, played: Played, **options: Any) -> int:
    file = cluster_file(folder)
    study = load(folder, **options.pop("changes", {}))
    options = {"run": played, "reach": lambda cluster: None, **options}
    return submit(str(file), str(folder / "study.yaml"), study, **options)


def test_all_is_sent_then_begun_then_followed_then_fetched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures(tmp_path / "animals")
    (tmp_path / "own.py").write_text("a = 1\n")
    cells = [{"datasets": ["animals"], "models": ["MLP"], "methods": ["binary", "real-SGD"]}]
    played = Played()
    changes = {"cells": cells}
    words = ["--trials", "2"]
    assert submitted(tmp_path, played, changes=changes, plugins=["own.py"], words=words) == 0
    assert [command[0] for command in played.commands] == ["exec", *["rsync-up"] * 3, "exec", "rsync-down"]
    look, data, plugin, request, follow, fetch = played.commands
    assert look[2] == "python -m study.submit.head look small"
    assert data[2:] == [f"{tmp_path}/animals/", f"{ROOT}/data/animals/"]
    assert plugin[2:] == [f"{tmp_path}/own.py", f"{ROOT}/plugins/own.py"]
    assert request[3] == f"{ROOT}/"
    assert follow[2] == "python -m study.submit.head follow small"
    assert fetch[2:] == ["/home/ubuntu/studies/small/", "studies/small/"]
    assert played.excluded == [[], [], [], ["/tune/", "/runs/*/*/", "/.*"]]
    assert f"{ROOT}/data/animals" in played.files[f"{ROOT}/study.yaml"]
    asked = json.loads(played.files[f"{ROOT}/request.json"])["words"]
    assert asked == [
        *("run", f"{ROOT}/study.yaml", "--output", "/home/ubuntu/studies/small", "--data-root", "/home/ubuntu/data"),
        *("--plugin", f"{ROOT}/plugins/own.py", "--trials", "2"),
    ]
    said = capsys.readouterr().out
    assert "animals (6 files, " in said and "epoch 1" in said and "results: studies/small" in said
    assert "Fetched IP" not in said and json.loads((tmp_path / "studies" / "small" / MARKER).read_text())


def test_a_dry_run_contacts_nobody(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    played = Played()
    assert submitted(tmp_path, played, dry_run=True, reach=lambda cluster: pytest.fail("reached")) == 0
    assert played.commands == []
    assert "to send to lab, into ~/data/submitted/small:" in capsys.readouterr().out


def test_what_is_missing_is_refused_before_anybody_is_contacted(tmp_path: Path) -> None:
    played = Played()
    changes = {"cells": [{"datasets": ["nowhere"], "models": ["MLP"], "methods": ["binary"]}]}
    with pytest.raises(UserError, match="'nowhere' is unknown"):
        submitted(tmp_path, played, changes=changes)
    assert played.commands == []


def job_of(tmp_path: Path) -> dict[str, str]:
    """The study's own job, at work."""
    played = Played()
    submitted(tmp_path, played)
    return {"id": "small-1", "digest": json.loads(played.files[f"{ROOT}/request.json"])["digest"]}


def test_a_study_at_work_is_followed_and_nothing_sent(tmp_path: Path) -> None:
    played = Played(job=job_of(tmp_path), code="of another version by now")
    assert submitted(tmp_path, played) == 0
    assert [command[0] for command in played.commands] == ["exec", "exec", "rsync-down"]


def test_another_version_of_a_study_at_work_is_refused(tmp_path: Path) -> None:
    played = Played(job=job_of(tmp_path))
    with pytest.raises(UserError, match=r"another version of small; wait .* 'ray job stop small-1'"):
        submitted(tmp_path, played, words=["--trials", "3"])
    assert len(played.commands) == 1


def test_another_version_of_the_project_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    played = Played(code="0" * 64)
    with pytest.raises(UserError, match=r"another version of the project .*ray up -y .*cluster\.yaml"):
        submitted(tmp_path, played)
    assert len(played.commands) == 1


def test_a_full_disk_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    played = Played(free=1000)
    with pytest.raises(UserError, match="1000 bytes are free on the disk of lab"):
        submitted(tmp_path, played)
    assert len(played.commands) == 1


def test_a_lost_connection_leaves_the_study_at_work(tmp_path: Path) -> None:
    played = Played()
    played.log = played.log[:-1]
    with pytest.raises(UserError, match="connection to lab was lost; the study goes on there; the same command"):
        submitted(tmp_path, played)
    assert not (tmp_path / "studies").exists()


def test_ctrl_c_leaves_the_study_at_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Stopped(Played):
        def __call__(self, command: Any, show: Any) -> int:
            if " follow " in command[-1]:
                raise KeyboardInterrupt
            return super().__call__(command, show)

    assert submitted(tmp_path, Stopped()) == INTERRUPTED
    assert "the study goes on there; the same command follows it again" in capsys.readouterr().out


def test_a_failed_job_s_results_are_fetched_and_its_status_is_the_command_s(tmp_path: Path) -> None:
    played = Played()
    played.log[-1] = mark(ended="FAILED", exit=1, message="")
    assert submitted(tmp_path, played) == 1
    assert played.commands[-1][0] == "rsync-down"


def test_results_never_go_over_another_study(tmp_path: Path) -> None:
    mine = tmp_path / "studies" / "small"
    mine.mkdir(parents=True)
    (mine / "study.json").write_text("{}")
    played = Played()
    with pytest.raises(UserError, match="studies/small holds another study than small of lab; give an --output"):
        submitted(tmp_path, played)
    assert played.commands == []
    assert submitted(tmp_path, played, output=str(tmp_path / "from-lab")) == 0
    assert submitted(tmp_path, played, output=str(tmp_path / "from-lab")) == 0


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (["No head node of cluster (lab) found!"], r"does not answer .*No head node .*; start it .*ray up -y"),
        (["/bin/python: No module named study.submit"], r"bring this checkout there: ray up -y"),
        ([mark(error="no Ray answers on the head node (x); start it again with `ray up`")], "^no Ray answers"),
    ],
)
def test_a_head_that_cannot_answer_is_one_line_with_the_remedy(tmp_path: Path, log: list[str], said: str) -> None:
    played = Played()

    def run(command: Any, show: Any) -> int:
        for line in log:
            show(line)
        return 1

    with pytest.raises(UserError, match=said) as refusal:
        submitted(tmp_path, played, run=run)
    assert "\n" not in str(refusal.value)
