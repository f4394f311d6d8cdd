"""`python -m study report A B`: several studies side by side, and never ranked across.

Studies differ in budgets, seeds, machines and commits, so a method of one is not compared with a method of another.
What each says of its own methods stands beside what the others say, in the order in which they were given.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

from study.compare.table import NONE, group_title, offer_text, percent
from study.compare.verdict import WorkloadVerdicts
from study.record.provenance import git_commit, package_version
from study.report.answer import answer
from study.report.content import StudyContent, read_content
from study.report.differences import difference_text
from study.report.document import (
    Block,
    Document,
    Figures,
    Paragraph,
    Section,
    Words,
    anchor,
    strong,
    table,
    text,
    without_links,
)
from study.report.origin import origin, warnings
from study.report.report import Report, write_report
from study.report.results import MIB, accuracy_panel
from trainers.errors import UserError

NOT_RANKED = (
    "Nothing here ranks a method of one study against one of another: their budgets, seeds, machines and code may "
    "differ. Each column is its own study's, with its own baseline."
)


def make_side_by_side(
    directories: Sequence[str | Path],
    output: str | Path,
    *,
    allow_unequal: bool = False,
    margin: float | None = None,
) -> Report:
    """Read several studies and write one report of them.

    Args:
        directories: their folders, two or more.
        output: the folder to write into.
        allow_unequal, margin: as in `make_report`.

    Raises:
        UserError: as `make_report`, of any of them; or a study that is given twice.
    """
    folders = [Path(one).resolve() for one in directories]
    twice = [str(folder) for number, folder in enumerate(folders) if folder in folders[:number]]
    if twice:
        raise UserError(f"{', '.join(twice)} is given twice; name each study once")
    studies = [read_content(one, allow_unequal=allow_unequal, margin=margin) for one in directories]
    return write_report(document_of_several(studies), Path(output))


def document_of_several(studies: Sequence[StudyContent]) -> Document:
    """The report of several studies."""
    names = _names(studies)
    banners = [f"{name}: {banner}" for name, one in zip(names, studies, strict=True) for banner in one.findings.banners]
    sections = [
        Section(
            "answer", "What each study says", (Paragraph(text(NOT_RANKED), "lead"),), tuple(_answers(studies, names))
        ),
        Section("table", "Side by side", (), tuple(_tables(studies, names))),
        Section("accuracy", "Accuracy against memory", tuple(_figures(studies, names))),
        Section("budgets", "What each study was", (_studies(studies, names),)),
        _each(names, "warnings", [warnings(one) for one in studies]),
        _each(names, "provenance", [origin(one) for one in studies]),
    ]
    made = f"Made from the records of {len(studies)} studies by {package_version()}, commit {git_commit()}."
    title = f"Studies {', '.join(names[:-1])} and {names[-1]}"
    return Document(title, tuple(banners), tuple(one for one in sections if not one.empty), made)


def _names(studies: Sequence[StudyContent]) -> list[str]:
    """The studies' names; with those of their folders, or where they lie, as far as that tells them apart."""
    forms = [
        [one.name for one in studies],
        [f"{one.name} ({one.folder.resolve().name})" for one in studies],
        [f"{one.name} ({one.folder.resolve()})" for one in studies],
    ]
    return next(names for names in forms if len(set(names)) == len(names))


def _answers(studies: Sequence[StudyContent], names: Sequence[str]) -> Iterator[Section]:
    for number, (name, one) in enumerate(zip(names, studies, strict=True)):
        said = answer(one)
        parts = tuple(Section("", part.title, without_links(part.blocks)) for part in said.sections)
        yield Section(f"answer-{number + 1}", name, without_links(said.blocks), parts)


def _tables(studies: Sequence[StudyContent], names: Sequence[str]) -> Iterator[Section]:
    """A table a workload: a row a method, and of each study its accuracy, memory and verdict."""
    workloads: dict[tuple[str, str], list[WorkloadVerdicts | None]] = {}
    for place, study in enumerate(studies):
        for its in study.findings.workloads:
            key = (its.group.dataset, its.group.model)
            workloads.setdefault(key, [None] * len(studies))[place] = its
    for number, own in enumerate(workloads.values()):
        known = next(one for one in own if one is not None)
        labels = dict.fromkeys(verdict.row.label for one in own if one for verdict in one.verdicts)
        header = ["method"]
        for name, one in zip(names, own, strict=True):
            measure = f"{one.group.measure} %" if one else "accuracy %"
            header += [f"{name}: {measure}", f"{name}: MiB", f"{name}: against its baseline"]
        rows = [[strong(label), *(cell for one in own for cell in _cells(one, label))] for label in labels]
        numeric = [column for column in range(1, len(header)) if column % 3]
        lacking = [name for name, one in zip(names, own, strict=True) if one is None]
        blocks: list[Block] = [table("Means with 95 % intervals, study by study", header, rows, numeric)]
        if lacking:
            blocks.append(Paragraph(text(f"Without this workload: {', '.join(lacking)}."), "note"))
        yield Section(anchor("table", str(number + 1)), group_title(known.group), tuple(blocks))


def _cells(one: WorkloadVerdicts | None, label: str) -> Iterator[Words]:
    verdict = next((v for v in one.verdicts if v.row.label == label), None) if one else None
    if one is None or verdict is None:
        yield from [NONE] * 3
        return
    row = verdict.row
    yield percent(row.test_accuracy if one.group.measure == "test" else row.val_accuracy)
    yield NONE if row.peak_memory is None else f"{row.peak_memory.mean / MIB:.2f}"
    difference = f": {difference_text(verdict.difference)} points" if verdict.difference else ""
    yield verdict.kind + difference if row.confirmed else "not confirmed"


def _figures(studies: Sequence[StudyContent], names: Sequence[str]) -> Iterator[Block]:
    drawings = []
    for place, (study, name) in enumerate(zip(studies, names, strict=True)):
        for number, workload in enumerate(study.findings.workloads):
            drawing = accuracy_panel(study, workload, f"accuracy-memory-{place + 1}-{number + 1}", prefix=f"{name}: ")
            if drawing is not None:
                drawings.append(drawing)
    if drawings:
        yield Paragraph(text("Each panel has axes of its own."), "note")
        yield Figures(tuple(drawings))


def _studies(studies: Sequence[StudyContent], names: Sequence[str]) -> Block:
    rows: list[list[Words]] = []
    for name, one in zip(names, studies, strict=True):
        offers = dict.fromkeys(account.offered for account in one.findings.accounts.values() if account.offered)
        machines = dict.fromkeys(command.hardware for command in one.commands)
        commits = dict.fromkeys(command.git_commit[:12] for command in one.commands)
        rows.append(
            [
                strong(name),
                str(len(one.rows)),
                "; ".join(map(offer_text, offers)) or NONE,
                f"±{one.findings.margin:g}",
                "; ".join(machines) or NONE,
                ", ".join(commits) or NONE,
                str(one.folder),
            ]
        )
    header = ["study", "runs", "offered to each method", "margin in points", "hardware", "commit", "folder"]
    return table("Budgets, machines and code", header, rows, numeric=[1])


def _each(names: Sequence[str], name: str, sections: Sequence[Section]) -> Section:
    """One section of every study's, each below the study's name."""
    parts = tuple(
        Section(f"{name}-{number + 1}", own, its.blocks)
        for number, (own, its) in enumerate(zip(names, sections, strict=True))
    )
    return Section(name, sections[0].title, (), parts)
