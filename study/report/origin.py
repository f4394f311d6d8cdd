"""What stands at a report's end: warnings, where its numbers come from, and every run that they lead to."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from study.compare.scores import CellGroup, shared_settings
from study.compare.table import NONE, configuration_text
from study.record.columns import configuration
from study.record.inputs import PRETRAINED
from study.record.tracking_uri import without_secrets
from study.report.answer import MIB, runs_anchor
from study.report.content import Row, StudyContent
from study.report.document import (
    Block,
    Code,
    Fold,
    Listing,
    Paragraph,
    Section,
    Span,
    Text,
    Words,
    anchor,
    code,
    strong,
    table,
    text,
)

FEW_SEEDS = 5
SMALL_TEST_SET = 2000
"""Images below which one more or less right answer, and chance among images, is seen in the first decimal."""
MOST_RUNS = 2500
"""Runs that a report lists; of larger studies the confirmed ones alone, since a report is to be sent by mail."""


def warnings(content: StudyContent) -> Section:
    """What a reader should know before relying on a number."""
    findings = content.findings
    items: list[Text] = [text([strong(banner)]) for banner in findings.banners]
    items += [text(line) for line in _general(content)]
    for number, (workload, remarks) in enumerate(zip(findings.workloads, findings.remarks, strict=True)):
        prefix = f"{workload.group.dataset}, {workload.group.model}: " if len(findings.workloads) > 1 else ""
        items += [text(prefix + line) for line in [*_of_workload(content, number), *remarks]]
    for cell, tags in sorted(content.sweeps.items()):
        if tags.get("range_edges"):
            edges = " ".join(tags["range_edges"].split())
            items.append(text([strong(f"{cell}: at the edge of a search range"), f" (within 5 %): {edges}"]))
    blocks: list[Block] = [Listing(tuple(items))] if items else [Paragraph(text("None."))]
    words = "§: of the protocol, study/PROTOCOL.md of the source, by which everything here is compared."
    return Section("warnings", "Warnings and remarks", (*blocks, Paragraph(text(words), "note")))


def _general(content: StudyContent) -> Iterator[str]:
    going = [row for row in content.rows if row["status"] in ("running", "interrupted")]
    if going:
        when = f", last heard of {_time(content.last_event)}" if content.last_event else ""
        yield f"The study is not over: {len(going)} of its {len(content.rows)} runs are running or interrupted{when}."
    for outcome in ("failed", "diverged", "infeasible"):
        count = sum(row["status"] == outcome for row in content.rows)
        if count:
            meaning = {"failed": "ended with an error", "diverged": "lost their loss", "infeasible": "had no memory"}
            yield f"{count} of {len(content.rows)} runs {meaning[outcome]} ({outcome})."
    if not content.findings.workloads:
        yield "No run has completed."


def _of_workload(content: StudyContent, number: int) -> Iterator[str]:
    group = content.findings.workloads[number].group
    seeds = {len(row.seeds) for row in group.methods if row.confirmed}
    if seeds and min(seeds) < FEW_SEEDS:
        count = min(seeds)
        words = f"Few seeds: {count}. " + ("A single seed gives no interval." if count == 1 else "")
        yield words + (
            f"An interval of {count} values leans on how seeds differ being like a normal distribution, and is wide."
            if count > 1
            else ""
        )
    images = content.workload(group).get("test_images") or next(
        (len(right) for row in group.methods for part in row.parts for right in part.answers.values()), None
    )
    if images and images < SMALL_TEST_SET:
        yield (
            f"Small test set: {images:,} images, of which one is {100 / images:.2g} points; on other images of the "
            "same kind all accuracies may be different together."
        )


def origin(content: StudyContent) -> Section:
    """What ran, on what, with which data and weights, and the study file."""
    blocks: list[Block] = []
    if content.commands:
        rows: list[list[Words]] = [
            [
                _time(one.at),
                code(without_secrets(one.command)),
                code(one.git_commit),
                one.hardware,
                one.versions,
            ]
            for one in content.commands
        ]
        header = ["started (UTC)", "command", "commit of the source", "hardware", "versions"]
        blocks.append(table("What ran", header, rows, numeric=(), stacked=True))
        dirty = [one for one in content.commands if one.git_commit.endswith("-dirty")]
        if dirty:
            words = "-dirty: the source was changed since that commit, so the commit alone does not give these numbers."
            blocks.append(Paragraph(text(words), "note"))
    else:
        blocks.append(Paragraph(text("The records do not say what command made them.")))
    if inputs := list(_inputs(content)):
        blocks.append(table("Data and weights", ["workload", "what", "value"], inputs, numeric=(), stacked=True))
    blocks.append(_mlflow(content))
    blocks += _study_file(content)
    return Section("provenance", "Where the numbers come from", tuple(blocks))


def _inputs(content: StudyContent) -> Iterator[list[Words]]:
    words = {
        "data": "data, SHA-256 of what a run sees",
        "test_set": "test set",
        "train_images": "training images",
        "validation_images": "validation images",
        "test_images": "test images",
        "pretrained_sha256": "pretrained file, SHA-256",
    }
    for (dataset, model), known in content.workloads.items():
        for key, meaning in words.items():
            if known.get(key) is not None:
                yield [f"{dataset}, {model}", meaning, code(str(known[key]))]
    files: dict[tuple[str, str], None] = {}
    for trial_id, tags in content.tags.items():
        if tags.get(PRETRAINED):
            files[str(content.configs[trial_id].get("pretrained")), tags[PRETRAINED]] = None
    for path, digest in files:
        yield ["runs from pretrained weights", f"SHA-256 of {path}", code(digest)]
    plugins = dict.fromkeys(row["plugins"] for row in content.rows if row.get("plugins"))
    for plugin in plugins:
        yield ["runs with a plug-in", "plug-in", code(str(plugin))]


def _mlflow(content: StudyContent) -> Block:
    address = content.identity.recorded_uri
    words: list[str | Span] = ["The same runs in MLflow: "]
    if address and address.startswith(("http://", "https://")):
        shown = without_secrets(address)
        words += [Span(shown, shown), ", experiment of the study's name; or "]
    return Paragraph(text([*words, code("python -m study ui DIR"), ", DIR being the study's folder."]), "note")


def _study_file(content: StudyContent) -> Iterator[Block]:
    files = list(dict.fromkeys(one.study_file for one in content.commands if one.study_file))
    for number, file in enumerate(files):
        which = "" if len(files) == 1 else f", as given the {number + 1}. time"
        yield Fold(f"The study file{which}", (Code(file, "the study file"),))
    if not files and content.cells:
        words = "The study file itself is not recorded; this is what the study is about, as its folder says, by cell."
        shown = "\n".join(f"{name}: {json.dumps(cell, sort_keys=True)}" for name, cell in content.cells.items())
        yield Fold("What the study is about", (Paragraph(text(words)), Code(shown, "the study's cells, each as JSON")))


def runs(content: StudyContent) -> Section:
    """Every run, by workload and method: what the numbers lead to."""
    listed = list(content.rows)
    blocks: list[Block] = []
    if len(listed) > MOST_RUNS:
        listed = [row for row in listed if row["phase"] != "search" or row["status"] == "running"]
        words = f"Of {len(content.rows):,} runs the search trials are not listed; results.parquet holds them all."
        blocks.append(Paragraph(text(words), "note"))
    words = "A run's folder is runs/ and its name, within the study's folder."
    blocks.append(Paragraph(text(words), "note"))
    sections = []
    groups: dict[tuple[str, str], dict[str, list[Row]]] = {}
    for row in listed:
        groups.setdefault((row["dataset"], row["model"]), {}).setdefault(row["method"], []).append(row)
    for (dataset, model), methods in groups.items():
        group = CellGroup(dataset, model)
        inner = tuple(_method_runs(content, group, method, rows) for method, rows in methods.items())
        sections.append(Section(anchor("runs", dataset, model), f"{dataset}, {model}", (), inner))
    return Section("runs", "Every run", tuple(blocks), tuple(sections))


def _method_runs(content: StudyContent, group: CellGroup, method: str, rows: list[Row]) -> Section:
    tested = [row for row in rows if row["phase"] != "search"]
    searched = [row for row in rows if row["phase"] == "search"]
    blocks: list[Block] = []
    if tested:
        blocks += _runs_listed(f"{method}: runs trained to their end for a score", tested, test=True)
    if searched:
        title = f"{len(searched)} search trial" + ("" if len(searched) == 1 else "s")
        blocks.append(Fold(title, tuple(_runs_listed(f"{method}: search", searched, test=False))))
    return Section(runs_anchor(group, method), method, tuple(blocks))


def _runs_listed(caption: str, rows: list[Row], *, test: bool) -> Iterator[Block]:
    """A table of runs, and below it the settings that all of them share."""
    settings = [_settings(row) for row in rows]
    shared = shared_settings(settings)
    header = ["run", "seed", "ended", "validation %", *["test %"] * test, "peak MiB", "epochs", "device-s", "settings"]
    made: list[list[Words]] = []
    for row, its in zip(rows, settings, strict=True):
        pruned = row["status"] == "pruned"
        ended = f"pruned at epoch {row['rung']}" if pruned else row["status"]
        own = {key: value for key, value in its.items() if key not in shared}
        made.append(
            [
                code(row["trial_id"]),
                str(row["seed"]),
                ended,
                # What a pruned trial had reached is no result (PROTOCOL §3.4).
                NONE if pruned else _percent(row["val_accuracy"]),
                *[_percent(row["test_accuracy"])] * test,
                NONE if row["peak_memory_bytes"] is None else f"{row['peak_memory_bytes'] / MIB:.2f}",
                str(row["epochs_used"]),
                NONE if row["device_seconds"] is None else f"{row['device_seconds']:.0f}",
                configuration_text(own) or NONE,
            ]
        )
    anchors = [run_anchor(row["trial_id"]) for row in rows]
    common = configuration_text(shared)
    numeric = [1, *range(3, len(header) - 1)]
    yield table(caption, header, made, numeric, anchors)
    if common:
        yield Paragraph(text(f"All with {common}."), "note")


def run_anchor(trial_id: str) -> str:
    """Where a run is listed."""
    return anchor("run", trial_id)


def _settings(row: Row) -> dict[str, Any]:
    return {k: v for k, v in configuration(row).items() if v is not None and k != "seed"}


def _percent(value: float | None) -> str:
    return NONE if value is None else f"{100 * value:.1f}"


def _time(at: float | None) -> str:
    return "at an unknown time" if at is None else datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M")
