"""`python -m study report DIR`: `report.html`, `report.md` and `figures/` in the study's folder, from records alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from study.record.provenance import git_commit, package_version
from study.report.answer import answer
from study.report.answers import answers
from study.report.average import average
from study.report.budgets import budgets
from study.report.content import StudyContent, read_content
from study.report.curves import curves
from study.report.document import FIGURES, Document, Section, drawings
from study.report.html import render_html
from study.report.lift import lift
from study.report.markdown import render_markdown
from study.report.memory import memory
from study.report.origin import origin, runs, warnings
from study.report.results import accuracy_against, results
from study.report.search import search
from trainers.atomic import write_text
from trainers.errors import UserError

HTML, MARKDOWN = "report.html", "report.md"


@dataclass(frozen=True)
class Report:
    """What was written."""

    html: Path
    markdown: Path
    figures: tuple[Path, ...]


def make_report(
    directory: str | Path,
    *,
    output: str | Path | None = None,
    allow_unequal: bool = False,
    margin: float | None = None,
    pictures: bool = True,
) -> Report:
    """Read a study's records and write its report.

    Args:
        directory: the study's folder; it may be running.
        output: the folder to write into; None: the study's.
        allow_unequal: report on methods whose offered budgets differ, below a banner.
        margin: of equivalence, in points; None takes the study's own.
        pictures: show test images that methods disagree on, where the prepared data are at hand.

    Raises:
        UserError: no study there, records that cannot be read, offered budgets that differ, or a folder that cannot be
            written.
    """
    content = read_content(directory, allow_unequal=allow_unequal, margin=margin)
    return write_report(document_of(content, pictures=pictures), Path(directory if output is None else output))


def document_of(content: StudyContent, *, pictures: bool = True) -> Document:
    """A study's report, section by section."""
    sections: Sequence[Section] = [
        answer(content),
        average(content),
        results(content),
        accuracy_against(content),
        lift(content),
        curves(content),
        memory(content),
        search(content),
        budgets(content),
        answers(content, pictures=pictures),
        warnings(content),
        origin(content),
        runs(content),
    ]
    made = f"Made from the records of {content.folder.resolve().name} by {package_version()}, commit {git_commit()}."
    return Document(
        f"Study {content.name}",
        content.findings.banners,
        tuple(section for section in sections if not section.empty),
        made,
    )


def write_report(document: Document, folder: Path) -> Report:
    """Write a document as HTML and Markdown, and its figures beside them.

    Raises:
        UserError: the folder cannot be written.
    """
    figures = folder / FIGURES
    html, markdown = folder / HTML, folder / MARKDOWN
    try:
        figures.mkdir(parents=True, exist_ok=True)
        written = [path for drawing in drawings(document.sections) for path in drawing.write(figures)]
        write_text(markdown, render_markdown(document))
        write_text(html, render_html(document))
    except OSError as error:
        raise UserError(f"{html} cannot be written ({error.strerror or error}); give another --output") from error
    return Report(html, markdown, tuple(written))
