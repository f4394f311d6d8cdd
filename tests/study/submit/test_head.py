"""The program on the head node: one job a study, begun or followed, whatever becomes of the connection."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from study.submit import head


class Jobs:
    """Stands for Ray's job client."""

    def __init__(self, *infos: Any) -> None:
        self.infos = list(infos)
        self.submitted: list[dict[str, Any]] = []
        self.log = ["one\ntw", "o\n", "".join(f"line {n}\n" for n in range(30))]
        self.ends = SimpleNamespace(status="SUCCEEDED", driver_exit_code=0, message="")

    def list_jobs(self) -> list[Any]:
        return self.infos

    def submit_job(self, **job: Any) -> None:
        self.submitted.append(job)

    def get_job_logs(self, job: str) -> str:
        return "".join(self.log)

    def get_job_info(self, job: str) -> Any:
        return self.ends

    async def tail_job_logs(self, job: str) -> AsyncIterator[str]:
        for text in self.log:
            yield text


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jobs:
    monkeypatch.setenv("HOME", str(tmp_path))
    (head.sent("mine")).mkdir(parents=True)
    request = {"words": ["run", "a study.yaml", "--trials", "2"], "digest": "d1"}
    (head.sent("mine") / "request.json").write_text(json.dumps(request))
    made = Jobs()
    monkeypatch.setattr(head, "job_client", lambda: made)
    return made


def running(name: str, status: str = "RUNNING") -> Any:
    metadata = {"study": str(head.results(name)), "digest": "d1"}
    return SimpleNamespace(metadata=metadata, status=status, submission_id=f"{name}-7")


def answers(text: str) -> list[dict[str, Any]]:
    return [json.loads(line.removeprefix(head.MARK)) for line in text.splitlines() if line.startswith(head.MARK)]


def test_a_look_makes_the_folders_and_says_what_is_there(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.infos = [running("other"), running("mine", "SUCCEEDED"), running("mine")]
    assert head.main(["look", "mine"]) == 0
    (said,) = answers(capsys.readouterr().out)
    assert said["root"] == str(head.sent("mine")) and (head.sent("mine") / "weights").is_dir()
    assert said["job"] == {"id": "mine-7", "digest": "d1"} and said["free"] > 0 and len(said["code"]) == 64


def test_a_job_is_begun_once_and_its_exit_status_told(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.ends = SimpleNamespace(status="FAILED", driver_exit_code=2, message="said why")
    assert head.main(["follow", "mine"]) == 0
    (job,) = jobs.submitted
    assert job["entrypoint"].endswith("-m study run 'a study.yaml' --trials 2")
    assert job["metadata"] == {"study": str(head.results("mine")), "digest": "d1"}
    printed = capsys.readouterr().out
    assert "one\ntwo\nline 0\n" in printed
    begun, ended = answers(printed)
    assert begun == {"job": job["submission_id"], "begun": True}
    assert ended == {"ended": "FAILED", "exit": 2, "message": "said why"}


def test_who_comes_back_sees_the_end_of_the_log(jobs: Jobs, capsys: pytest.CaptureFixture[str]) -> None:
    jobs.infos = [running("mine", "PENDING")]
    assert head.main(["follow", "mine"]) == 0
    assert not jobs.submitted
    printed = capsys.readouterr().out
    assert "line 9\n" not in printed and "line 10\n" in printed and "line 29\n" in printed
    assert answers(printed)[0] == {"job": "mine-7", "begun": False}


def test_a_head_without_ray_is_an_answer(
    jobs: Jobs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def nobody() -> None:
        raise ConnectionError("Failed to connect\nto it")

    monkeypatch.setattr(head, "job_client", nobody)
    assert head.main(["look", "mine"]) == 0
    (said,) = answers(capsys.readouterr().out)
    assert "no Ray answers on the head node (Failed to connect); start it again" in said["error"]
