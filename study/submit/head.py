"""What `study submit` runs on a cluster's head node, where Ray's job server is; it answers by lines of JSON.

    python -m study.submit.head look NAME               what is there: folders, free bytes, this code, the study's job
    python -m study.submit.head follow NAME             begin the study's job, unless it is at work, and follow its log

A job goes on when this program ends, as it does when the connection to it is closed. One job of a study is at work at a
time: who asks for another is shown that one, or refused where it runs another version of the study.
"""

import asyncio
import json
import os
import secrets
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

from study.drive.node_answer import code_hash
from study.drive.ray_address import VARIABLE

MARK = "binsfo-submit: "
"""What a line with an answer begins with."""

_AT_WORK = ("PENDING", "RUNNING")
# Lines of a log that are shown again to who comes back to a job.
_SHOWN_AGAIN = 20


def main(words: list[str]) -> int:
    """Do what the words say; what is wrong is an answer too."""
    action, name = words
    try:
        {"look": look, "follow": follow}[action](name)
    except Exception as error:  # whatever Ray does instead of answering
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        answer(error=f"no Ray answers on the head node ({reason}); start it again with `ray up`")
    return 0


def answer(**content: Any) -> None:
    """Print an answer."""
    print(f"{MARK}{json.dumps(content)}", flush=True)


def sent(name: str) -> Path:
    """Where what a study names lies, on the disk that all nodes share."""
    return Path.home() / "data" / "submitted" / name


def results(name: str) -> Path:
    """The study's folder, on the same disk."""
    return Path.home() / "studies" / name


def look(name: str) -> None:
    """Say what is there, and make the folders that files are sent into."""
    root = sent(name)
    for folder in ("data", "weights", "plugins"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    answer(
        root=str(root),
        results=str(results(name)),
        free=shutil.disk_usage(root).free,
        code=code_hash(),
        job=job_at_work(job_client(), name),
        ended=True,
    )


def follow(name: str) -> None:
    """Begin the study's job unless one is at work, and print its log until it ends."""
    request = json.loads((sent(name) / "request.json").read_text(encoding="utf-8"))
    client = job_client()
    job = job_at_work(client, name)
    if job is None:
        entrypoint = shlex.join([sys.executable, "-m", "study", *request["words"]])
        metadata = {"study": str(results(name)), "digest": request["digest"]}
        job_id = f"{name}-{secrets.token_hex(4)}"
        client.submit_job(entrypoint=entrypoint, submission_id=job_id, metadata=metadata)
        answer(job=job_id, begun=True)
        shown = 0
    else:
        job_id = job["id"]
        answer(job=job_id, begun=False)
        before = client.get_job_logs(job_id).splitlines(keepends=True)
        shown = sum(map(len, before[:-_SHOWN_AGAIN]))
    asyncio.run(print_log(client, job_id, shown))
    info = client.get_job_info(job_id)
    status = status_of(info)
    code = info.driver_exit_code if info.driver_exit_code is not None else int(status != "SUCCEEDED")
    answer(ended=status, exit=code, message=info.message or "")


async def print_log(client: Any, job_id: str, shown: int) -> None:
    """Print a job's log as it grows, without its first `shown` characters, until the job ends."""
    async for text in client.tail_job_logs(job_id):
        if shown < len(text):
            sys.stdout.write(text[shown:])
            sys.stdout.flush()
        shown = max(0, shown - len(text))
    print(flush=True)


def job_at_work(client: Any, name: str) -> dict[str, str] | None:
    """The job of this study that has not ended: its id, and what it runs."""
    for info in client.list_jobs():
        metadata = info.metadata or {}
        own = metadata.get("study") == str(results(name))
        if own and status_of(info) in _AT_WORK and info.submission_id:
            return {"id": info.submission_id, "digest": metadata.get("digest", "")}
    return None


def status_of(info: Any) -> str:
    """Ray's word for what a job is at."""
    return str(getattr(info.status, "value", info.status))


def job_client() -> Any:
    """What talks to the job server of the Ray that runs here; it shows the token that lies here."""
    os.environ.pop(VARIABLE, None)  # it would be taken for the server's own address
    from ray.job_submission import JobSubmissionClient

    return JobSubmissionClient()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
