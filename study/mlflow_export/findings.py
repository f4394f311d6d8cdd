"""What the comparison wrote into a study's folder, for MLflow's pages: verdicts as notes, its files as artifacts.

`verdicts.json` and `report.md` are read, nothing is worked out: where they are not there, or older than the log, the
pages say what they say. MLflow shows the tag `mlflow.note.content` of runs and experiments as Markdown, above all else.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from study.record.file_names import RESULTS_FILE, VERDICTS_FILE
from study.record.terminal import percent

NOTE = "mlflow.note.content"
MIB = 2**20
# MLflow refuses longer tags of runs; experiments may have longer ones.
LONGEST_NOTE = 5000
FIGURES = "figures"
_LINK = re.compile(r"\[([^\[\]]+)\]\(#[^)]*\)")
_FILES = ("report.html", "report.md", VERDICTS_FILE, RESULTS_FILE)


class Artifact(NamedTuple):
    """A file that MLflow's pages offer.

    Attributes:
        source: where it lies in the study's folder.
        folder: where it stands among a run's artifacts; empty at their top.
    """

    source: Path
    folder: str = ""

    @property
    def state(self) -> str:
        """What changes when the file does: its place there, its size and when it was written."""
        facts = self.source.stat()
        return f"{self.folder}/{self.source.name} {facts.st_size} {facts.st_mtime_ns}"


class Note(NamedTuple):
    """What is said of one method on one workload, and of all of them together."""

    dataset: str
    model: str
    method: str
    text: str


def artifacts(folder: Path) -> list[Artifact]:
    """The files of a study's comparison that are there: the report, its figures, verdicts and the table of runs."""
    found = [Artifact(folder / name) for name in _FILES if (folder / name).is_file()]
    pictures = [*sorted(folder.glob("accuracy_vs_*.*")), *sorted((folder / FIGURES).glob("*.*"))]
    return found + [Artifact(path, FIGURES) for path in pictures if path.suffix in (".png", ".svg")]


def notes(folder: Path) -> list[Note]:
    """The verdict on each method that is compared, in Markdown; none where nothing was compared yet."""
    made, verdicts = [], _verdicts(folder)
    banners = _banners(verdicts)
    for workload in _workloads(verdicts):
        rows: dict[str, list[Mapping[str, Any]]] = {}
        for row in workload.get("methods", []):
            rows.setdefault(str(row["method"]), []).append(row)
        for method, own in rows.items():
            told = [*banners, *(_verdict(row, str(workload.get("baseline"))) for row in own)]
            text = "\n\n".join(told)
            made.append(Note(str(workload["dataset"]), str(workload["model"]), method, text[:LONGEST_NOTE]))
    return made


def overview(folder: Path) -> str | None:
    """The report's sentences on a whole study and a table of its verdicts, in Markdown; None where there are none."""
    verdicts = _verdicts(folder)
    lines = [line for sentence in (*_banners(verdicts), *_answers(folder)) for line in (sentence, "")]
    for workload in _workloads(verdicts):
        baseline, measure = workload.get("baseline"), workload.get("measure")
        lines += [f"### {workload['dataset']}, {workload['model']}", ""]
        lines += [f"| method | {measure} accuracy | peak memory | against {baseline} |", "| --- | --- | --- | --- |"]
        for row in workload.get("methods", []):
            cells = [str(row["label"]), _accuracy(row), _memory(row), str(row["text"])]
            lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
        lines += ["", *(f"- {remark}" for remark in workload.get("remarks", [])), ""]
    return "\n".join(lines).strip()[:LONGEST_NOTE] or None


def _answers(folder: Path) -> Iterator[str]:
    """What the report says first of each workload: the quotations of its section `The answer`, without their links."""
    try:
        report = (folder / "report.md").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return
    section = report.partition("\n## The answer\n")[2].partition("\n## ")[0]
    for line in section.splitlines():
        if line.startswith("> "):
            yield _LINK.sub(r"\1", line.removeprefix("> ")).replace("**", "")


def _verdict(row: Mapping[str, Any], baseline: str) -> str:
    facts = [part for part in (_accuracy(row), _memory(row)) if part != "-"]
    seeds = len(row.get("seeds", []))
    front = str(row.get("front") or "")
    place = f" {front[:1].upper()}{front[1:]}." if front else ""
    against = "" if row["kind"] == "baseline" else f", against {baseline}"
    said = f"**{row['text'][:1].upper()}{row['text'][1:]}**{against}.{place}"
    return f"{said}\n\n{row['label']}: {', '.join(facts)}; {seeds} seed{'' if seeds == 1 else 's'}." if facts else said


def _accuracy(row: Mapping[str, Any]) -> str:
    """An accuracy with its interval: the test set's where it was opened."""
    found = row.get("test_accuracy") or row.get("val_accuracy")
    if not found:
        return "-"
    ends = [found[end] for end in ("low", "high")]
    interval = "" if None in ends else f" [{100 * ends[0]:.1f}, {100 * ends[1]:.1f}]"
    return percent(found["mean"]) + interval


def _memory(row: Mapping[str, Any]) -> str:
    found = row.get("peak_memory_bytes")
    return f"{found['mean'] / MIB:.2f} MiB" if found else "-"


def _banners(verdicts: Mapping[str, Any]) -> list[str]:
    """What must be read before any number, as that methods were not offered the same."""
    return [f"**{banner}**" for banner in verdicts.get("banners") or []]


def _workloads(verdicts: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = verdicts.get("workloads")
    whole = found if isinstance(found, list) else []
    return [one for one in whole if isinstance(one, dict) and {"dataset", "model"} <= one.keys()]


def _verdicts(folder: Path) -> Mapping[str, Any]:
    """What `verdicts.json` holds; nothing where it is not there or cannot be read, which `compare` mends."""
    try:
        content = json.loads((folder / VERDICTS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
