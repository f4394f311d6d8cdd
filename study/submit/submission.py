"""A study on a cluster from beginning to end: looked at here, sent, run there as a job, followed, its results fetched.

Everything that can be refused is refused before anything is contacted; then the head node is asked what is there, and
only then is something sent. The same command follows a study that is at work, goes on with one that was interrupted,
and fetches the results of one that has ended.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from study.define.cells import StudyConfig
from study.drive.interrupt import INTERRUPTED
from study.drive.node_answer import code_hash
from study.record.file_names import STUDY_FILE
from study.record.terminal import say
from study.submit.bundle import HOME, SUBMITTED, Bundle, bundle_of, request, size_text
from study.submit.cluster_file import ClusterFile, read_cluster_file, require_head
from study.submit.launcher import Launcher, Run, run_command
from trainers.errors import UserError

MARKER = "submitted.json"
"""In the folder that results are fetched into: which study of which cluster they are of."""
# Bytes that are left free on the cluster's disk beside what is sent: prepared data, checkpoints.
_ROOM = 2**30


def submit(
    cluster_file: str,
    source: str,
    study: StudyConfig,
    *,
    words: Sequence[str] = (),
    plugins: Sequence[str] = (),
    data_root: str | None = None,
    output: str | None = None,
    dry_run: bool = False,
    run: Run = run_command,
    reach: Callable[[ClusterFile], None] = require_head,
) -> int:
    """Run a study on a cluster and fetch its results; the exit status is the job's.

    Args:
        cluster_file: what `ray up` was given.
        source: the study, a preset's name or a file's path.
        study: as it was read from there.
        words: options of `python -m study run` beside those about folders and plug-ins.
        plugins: files.
        data_root: where data sets of the catalog are sent from; None leaves them to the cluster.
        output: the folder for the results; `studies/<name>` where None.
        dry_run: say what would be sent and stop.
        run: runs a command.
        reach: refuses a head node that cannot be reached.

    Raises:
        UserError: what the study names is not here or not whole, the cluster cannot be reached or does not fit, or a
            job is at work there with another version of the study.
    """
    cluster = read_cluster_file(cluster_file)
    bundle = bundle_of(study, source, plugins, data_root)
    target = Path(output or Path("studies") / study.name)
    origin = {"cluster": cluster.name, "study": study.name}
    _require_own(target, origin)
    for line in [f"to send to {cluster.name}, into {HOME}/{SUBMITTED}/{study.name}:", *bundle.lines()]:
        say(line)
    if dry_run:
        return 0
    reach(cluster)
    launcher = Launcher(cluster, run)
    say(f"asking {cluster.name} what is there ...")
    there = launcher.ask("look", study.name)
    root, results = str(there["root"]), str(there["results"])
    words = _run_words(bundle, words, root, results)
    digest = bundle.digest(words)
    if (job := there["job"]) is None:
        _require_room(bundle, there["free"], cluster)
        if there["code"] != code_hash():
            raise UserError(
                f"{cluster.name} has another version of the project than this machine; bring this one there first "
                f"(it starts Ray anew): {cluster.advice}"
            )
        _send(launcher, bundle, root, words, digest)
    elif job["digest"] != digest:
        raise UserError(
            f"the job {job['id']} is at work on {cluster.name} with another version of {study.name}; wait for its end, "
            f"or stop it: ray exec {cluster.path} 'ray job stop {job['id']}'"
        )
    again = "the study goes on there; the same command follows it again, and fetches its results"
    try:
        ended = launcher.ask("follow", study.name, show=_shown(job is None))
    except KeyboardInterrupt:
        say(f"\n{again}", important=True)
        return INTERRUPTED
    if "exit" not in ended:
        raise UserError(f"the connection to {cluster.name} was lost; {again}")
    target.mkdir(parents=True, exist_ok=True)
    (target / MARKER).write_text(json.dumps(origin), encoding="utf-8")
    say("fetching the results ...")
    launcher.fetch(results, target)
    say(f"results: {target} (checkpoints stay on {cluster.name}, in {results}/runs)", important=True)
    say(f"look at them here: {target}/report.html, or python -m study ui {target}", important=True)
    if status := int(ended["exit"]):
        say(f"the job ended with exit status {status}; what it said stands above", important=True)
    return status


def _require_own(target: Path, origin: dict[str, str]) -> None:
    """Refuse a folder that holds another study than the one whose results would be put there."""
    try:
        before = json.loads((target / MARKER).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        before = None
    if before != origin and ((target / STUDY_FILE).exists() or before is not None):
        raise UserError(f"{target} holds another study than {origin['study']} of {origin['cluster']}; give an --output")


def _require_room(bundle: Bundle, free: int, cluster: ClusterFile) -> None:
    if bundle.size + _ROOM > free:
        raise UserError(
            f"{size_text(free)} are free on the disk of {cluster.name}, and {size_text(bundle.size)} are to be sent, "
            f"beside {size_text(_ROOM)} to work with; make room there"
        )


def _run_words(bundle: Bundle, words: Sequence[str], root: str, results: str) -> list[str]:
    """The command line there, behind `python -m study`."""
    plugins = [word for path in bundle.plugins_at(root) for word in ("--plugin", path)]
    data_root = str(Path(root).parents[1])
    return ["run", f"{root}/study.yaml", "--output", results, "--data-root", data_root, *plugins, *words]


def _send(launcher: Launcher, bundle: Bundle, root: str, words: Sequence[str], digest: str) -> None:
    for item in bundle.items:
        say(f"sending {item.source} ({size_text(item.size)}) ...")
        launcher.send(item.source, f"{root}/{item.there}")
    with tempfile.TemporaryDirectory(prefix="study-submit-") as folder:
        (Path(folder) / "study.yaml").write_text(bundle.text_at(root), encoding="utf-8")
        (Path(folder) / "request.json").write_text(json.dumps(request(words, digest)), encoding="utf-8")
        launcher.send(Path(folder), root)


def _shown(new: bool) -> Callable[[str], None]:
    say("beginning the study as a job; Ctrl-C leaves it at work ..." if new else "the study is at work; its log:")
    return lambda line: say(line, important=True)
