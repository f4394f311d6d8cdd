"""What the further sections show: how runs went, memory, the search, classes, several studies side by side."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from study.report.answers import answers_of, disagreement
from study.report.content import StudyContent, read_content
from study.report.document import Document, Section, Table, drawings
from study.report.html import render_html
from study.report.lift import lifts_of
from study.report.memory import by_category
from study.report.report import document_of
from study.report.search import search
from study.report.several import document_of_several, make_side_by_side
from tests.study.report.full_study import IMAGES, record_full_study, write_journal
from trainers.errors import UserError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("full") / "study"
    record_full_study(made)
    return made


@pytest.fixture(scope="module")
def content(folder: Path) -> StudyContent:
    return read_content(folder)


@pytest.fixture(scope="module")
def document(content: StudyContent) -> Document:
    return document_of(content)


def section(document: Document, anchor: str) -> Section:
    return next(one for one in document.sections if one.anchor == anchor)


def words(part: Section) -> str:
    return render_html(Document("", (), (part,)))


def test_figures_of_every_kind_are_there(document: Document) -> None:
    names = {drawing.name for drawing in drawings(document.sections)}
    kinds = (
        "accuracy-memory-1",
        "lift-1",
        "learning-1",
        "flip-rate-1",
        "memory-1",
        "best-so-far-1",
        "tuning-1",
        "trials-1",
        "importance-1",
    )
    assert names >= {*kinds, "parallel-1-1"}


def test_each_figure_has_a_title_and_says_its_numbers_in_words(document: Document) -> None:
    for drawing in drawings(document.sections):
        assert drawing.svg.count("<title") == drawing.svg.count("<desc") == 1
        assert any(letter.isdigit() for letter in drawing.description), drawing.name


def test_importance_names_the_setting_that_decides(document: Document) -> None:
    drawing = next(one for one in drawings(document.sections) if one.name == "importance-1")
    shares = dict(part.rstrip(".").rsplit(" ", 1) for part in drawing.description.split("; "))
    assert max(shares, key=lambda name: float(shares[name])) == "binary: T"


def test_categories_add_up_to_the_peak(content: StudyContent) -> None:
    row = content.findings.workloads[0].group.methods[0]
    assert row.peak_memory is not None
    assert sum(by_category(content, row).values()) == row.peak_memory.mean


def test_lift_of_the_baseline_is_the_controls_difference_turned_round(content: StudyContent) -> None:
    workload = content.findings.workloads[0]
    lifts = {one.row.method: one for one in lifts_of(workload)}
    assert set(lifts) == {"binary", "bop", "real-SGD", "real-Adam"}
    back = lifts["real-Adam"].turned_round()
    assert back.measured is not None and back.measured.estimate.mean < 0 and back.row.method == "frozen"


def test_lift_is_drawn_with_its_interval_and_whether_it_is_decided(content: StudyContent, document: Document) -> None:
    drawing = next(one for one in drawings(document.sections) if one.name == "lift-1")
    for one in lifts_of(content.findings.workloads[0]):
        assert one.measured is not None
        low, high = one.measured.estimate.interval
        assert f"{one.row.label} {one.measured.estimate.mean:+.1f} [{low:+.1f}, {high:+.1f}], {one.kind}" in (
            drawing.description
        )


def test_each_number_of_a_method_leads_to_its_runs(document: Document) -> None:
    for name in ("table", "lift", "memory", "budgets", "answers"):
        for one in (block for part in [section(document, name)] for block in every_table(part)):
            for row in one.rows:
                numbers = [
                    cell
                    for place, cell in enumerate(row.cells)
                    if one.is_numeric(place) and one.header[place] != "images"
                ]
                shown = [span for cell in numbers for span in cell if any(letter.isdigit() for letter in span.text)]
                assert all(span.href.startswith("#runs-") for span in shown), (name, one.caption, row)


def every_table(part: Section) -> list[Table]:
    inner = [one for section in part.sections for one in every_table(section)]
    return [one for one in part.blocks if isinstance(one, Table)] + inner


def test_of_repeated_searches_all_are_shown(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "study"
    shutil.copytree(folder, copy)
    write_journal(copy / "optuna.journal", "Digits-MLP-binary-r2", trials=12)
    content = read_content(copy)
    again = {**content.sweeps["Digits-MLP-binary"], "repeat": "2"}
    shown = words(search(replace(content, sweeps={**content.sweeps, "Digits-MLP-binary-r2": again})))
    assert "binary, 2 searches: 30 completed" in shown and "of 2 searches" in shown
    assert "the mean over its searches" in shown and "30 completed trials, validation accuracy" in shown
    assert "2 searches" not in words(search(content))


def test_classes_are_known_from_right_answers_where_no_data_are_at_hand(content: StudyContent) -> None:
    found = answers_of(content, content.findings.workloads[0].group)
    assert found is not None
    known = found.labels >= 0
    assert known.any() and (found.labels[known] == (np.arange(IMAGES) % 10)[known]).all()


def test_images_on_which_methods_agree_have_no_disagreement() -> None:
    by = disagreement({"a": np.array([1.0, 0.0, 1.0]), "b": np.array([1.0, 0.0, 0.0])})
    assert by[0] == by[1] == 0 and by[2] > 0


def test_pictures_are_left_out_where_asked_and_where_data_are_not_at_hand(content: StudyContent) -> None:
    assert "as asked" in words(section(document_of(content, pictures=False), "answers"))


def test_damaged_journal_is_said_and_the_rest_is_reported(folder: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(folder, tmp_path / "copy"))
    (copy / "optuna.journal").write_text("not a journal\n" * 2)
    said = words(section(document_of(read_content(copy)), "search"))
    assert "cannot be read" in said


def test_several_studies_stand_side_by_side_and_are_not_ranked(folder: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(folder, tmp_path / "other"))
    document = document_of_several([read_content(folder), read_content(other)])
    said = render_html(document)
    assert "Nothing here ranks a method of one study against one of another" in said
    tables = [one for part in section(document, "table").sections for one in part.blocks if isinstance(one, Table)]
    assert tables and all(len(one.header) == 1 + 2 * 3 for one in tables)
    names = {drawing.name for drawing in drawings(document.sections)}
    assert {"accuracy-memory-1-1", "accuracy-memory-2-1"} <= names


def test_study_given_twice_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="given twice"):
        make_side_by_side([folder, folder], tmp_path)
