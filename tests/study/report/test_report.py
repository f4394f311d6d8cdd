"""A report says what the records say, in two forms, and says what is missing rather than failing."""

import re
from pathlib import Path

import pytest

from study.record.study_log import StudyLog
from study.report.content import read_content
from study.report.document import Document, Paragraph, Section, drawings, prose, strong, text
from study.report.html import LARGEST, render_html
from study.report.markdown import render_markdown
from study.report.report import Report, document_of, make_report
from tests.study.recorded_study import begin_study, record_run, record_search, record_sweep


@pytest.fixture(scope="module")
def document(recorded: Path) -> Document:
    return document_of(read_content(recorded))


@pytest.fixture(scope="module")
def page(document: Document) -> str:
    return render_html(document)


def test_sections_come_in_the_order_in_which_a_reader_asks(document: Document) -> None:
    names = [section.anchor for section in document.sections]
    assert names[:3] == ["answer", "table", "accuracy"]
    assert names[-3:] == ["warnings", "provenance", "runs"]


def test_first_section_names_the_baseline_and_every_verdict(document: Document) -> None:
    said = render_html(Document("", (), document.sections[:1]))
    assert "the baseline, reaches" in said
    for method in ("binary", "bop", "real-SGD"):
        assert method in said


def test_every_link_within_the_page_leads_somewhere_and_every_name_is_there_once(page: str) -> None:
    names = re.findall(r'\bid="([^"]+)"', page)
    assert len(names) == len(set(names))
    led = set(re.findall(r'href="#([^"]+)"', page)) | set(re.findall(r"url\(#([^)]+)\)", page))
    assert led and led <= set(names)
    labels = {name for found in re.findall(r'aria-labelledby="([^"]+)"', page) for name in found.split()}
    assert labels <= set(names)


def test_nothing_is_fetched_and_nothing_runs(page: str) -> None:
    assert "<script" not in page and "<link" not in page and "<iframe" not in page and "@import" not in page
    assert all(source.startswith("data:image/png;base64,") for source in re.findall(r'\bsrc="([^"]*)"', page))
    assert "default-src 'none'" in page


def test_page_is_small_enough_for_mail(page: str) -> None:
    assert len(page.encode()) < LARGEST


def test_page_that_would_be_too_large_leaves_out_the_search_first_and_says_so(document: Document, page: str) -> None:
    small = render_html(document, most=len(page.encode()) - 1)
    assert len(small) < len(page) and "to keep this page small" in small
    assert "<svg" in small and 'id="run-Digits-MLP-binary-confirm-0000-s11"' in small
    least = render_html(document, most=1)
    assert 'href="figures/learning-1.svg"' in least and "accuracy-memory-1-title" in least


def test_every_run_is_listed_with_a_name_to_lead_to(page: str, recorded: Path) -> None:
    for row in read_content(recorded).rows:
        assert f'id="run-{row["trial_id"]}"' in page


def test_markdown_says_the_same(document: Document) -> None:
    text = render_markdown(document)
    for drawing in drawings(document.sections):
        assert f"figures/{drawing.name}.png" in text
    for section in document.sections:
        assert f"## {section.title}" in text


def test_bold_words_of_markdown_end_before_the_blank_that_follows() -> None:
    said = (Paragraph(text([strong("Undecided: "), "binary"])),)
    assert "**Undecided:** binary" in render_markdown(Document("", (), (Section("a", "", said),)))


def test_what_a_pruned_trial_had_reached_is_not_shown(page: str) -> None:
    assert "99.9" not in page


def test_records_text_is_escaped_in_both_forms() -> None:
    evil = '<script>alert("1")</script>|`x` [a](javascript:alert(1))'
    document = Document(evil, (evil,), (Section("a", evil, (prose(evil),)),), evil)
    assert "<script>" not in render_html(document)
    assert "<script>" not in render_markdown(document).replace("\\<script\\>", "")
    assert not re.search(r"(?<!\\)\]\(javascript:", render_markdown(document))


def test_pages_and_figures_lie_beside_each_other(recorded_copy: Path) -> None:
    made = make_report(recorded_copy)
    assert isinstance(made, Report)
    assert made.html == recorded_copy / "report.html" and made.markdown == recorded_copy / "report.md"
    assert {path.suffix for path in made.figures} == {".svg", ".png"}
    assert all(path.is_file() and path.parent.name == "figures" for path in made.figures)


def test_study_without_a_completed_run_says_so(tmp_path: Path) -> None:
    log = begin_study(tmp_path, "begun")
    cell = record_sweep(log, "Digits", "binary")
    record_run(log, cell, "Digits", "binary", "search", f"{cell}-search-0000", 1, "running", 0.5, 0.1, 1)
    said = render_html(document_of(read_content(tmp_path)))
    assert "No run has completed" in said and "1 of its 1 runs are running or interrupted" in said


def test_study_that_is_only_searched_has_no_verdict(tmp_path: Path) -> None:
    log: StudyLog = begin_study(tmp_path, "searched")
    record_search(log, "Digits", "binary")
    said = render_html(document_of(read_content(tmp_path)))
    assert "nothing is confirmed yet" in said
