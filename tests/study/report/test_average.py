"""The answer that takes all data sets of a study together."""

from pathlib import Path

import pytest

from study.compare.findings import find
from study.record.folder import StudyIdentity
from study.report.answer import answer
from study.report.average import average
from study.report.content import StudyContent
from study.report.document import Document, Paragraph, Section, Table, drawings
from study.report.html import render_html
from tests.study.made_up_runs import answered_study, sweep_tags, table

METHODS = {"real-Adam": 0.8, "binary": 0.7, "bop": 0.78, "frozen": 0.6}


def made_up(**accuracies: dict[str, float]) -> StudyContent:
    rows, kept = answered_study(accuracies)
    tags = {cell: tag for dataset, own in accuracies.items() for cell, tag in sweep_tags(*own, dataset=dataset).items()}
    findings = find("made up", table(rows), tags, predictions=kept)
    return StudyContent(Path(), StudyIdentity("made up", Path(), None, None), findings, (), {}, {}, {}, {}, (), {})


@pytest.fixture(scope="module")
def content() -> StudyContent:
    return made_up(A=METHODS, B={**METHODS, "bop": 0.81})


def words(part: Section) -> str:
    return render_html(Document("", (), (part,)))


def lead(part: Section, place: int = 0) -> str:
    block = part.blocks[place]
    assert isinstance(block, Paragraph)
    return "".join(span.text for span in block.text)


def test_the_answer_begins_with_what_all_data_sets_say_together(content: StudyContent) -> None:
    said = lead(answer(content))
    assert said.startswith("On average over 2 data sets (A, B), with MLP, against real-Adam (margin ±1 point). ")
    assert "Undecided: bop (" in said and "points at 0.25 times the memory)" in said
    assert "Less accurate for sure: binary (" in said and "frozen" not in said
    gains = lead(answer(content), 1)
    assert gains.startswith("Above frozen, which flips no binary weight, for sure: real-Adam by +19.9 [")
    assert gains.index("real-Adam") < gains.index("; bop") < gains.index("; binary")


def test_every_sort_has_a_figure_and_a_table_with_each_data_sets_own(content: StudyContent) -> None:
    part = average(content)
    names = [drawing.name for drawing in drawings([part])]
    assert names == ["average-baseline", "average-lift"]
    against, lifts = (block for block in part.blocks if isinstance(block, Table))
    assert len(against.rows) == 3 and len(lifts.rows) == 3  # the baseline has a lift too, and the control a difference
    assert "A -10." in words(part) and "real-Adam" in words(part)
    assert "bop or real-Adam" in words(part) and "in 4 of 5 studies" in words(part)


def test_of_one_data_set_nothing_is_averaged() -> None:
    one = made_up(A=METHODS)
    assert average(one).empty and not lead(answer(one)).startswith("On average")


def test_rows_over_fewer_data_sets_say_so() -> None:
    fewer = {name: value for name, value in METHODS.items() if name != "bop"}
    part = average(made_up(A=METHODS, B=METHODS, C=fewer))
    drawing = drawings([part])[0]
    assert "bop, 2 sets " in drawing.description and "binary -" in drawing.description
