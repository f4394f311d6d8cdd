"""Confusions are counted from what runs answered; a class is known where any run of the study was right."""

import xml.etree.ElementTree as ElementTree

import numpy as np

from study.mlflow_export.confusion import as_csv, as_svg, confusion, matrices, true_classes
from trainers.predictions import Predictions

CLASSES = np.array([0, 1, 2, 1, 0])


def run(*predicted: int, test_set: str = "t", classes: np.ndarray = CLASSES) -> Predictions:
    answers = np.array(predicted)
    return Predictions(test_set, "r", answers, answers == classes)


def test_a_class_is_what_any_run_that_was_right_said() -> None:
    assert true_classes([run(0, 0, 0, 0, 1), run(1, 1, 0, 0, 1)]).tolist() == [0, 1, -1, -1, -1]


def test_counts_are_of_true_by_named_class_and_images_without_a_class_are_apart() -> None:
    one, other = run(0, 1, 1, 0, 0), run(0, 0, 2, 0, 1)
    counts = matrices({"a": one, "b": other})
    assert counts["a"].tolist() == [[2, 0, 0], [0, 1, 0], [0, 1, 0], [1, 0, 0]]
    assert counts["b"].sum() == counts["a"].sum() == 5
    assert np.trace(counts["a"][:3]) == one.correct.sum(), "the diagonal is what was right"


def test_test_sets_are_kept_apart() -> None:
    strange = run(2, 2, 2, 2, 2, test_set="u", classes=np.array([2, 2, 2, 2, 2]))
    assert matrices({"a": run(0, 1, 2, 1, 0), "b": strange})["a"].tolist()[:3] == [[2, 0, 0], [0, 2, 0], [0, 0, 1]]


def test_the_table_and_the_picture_say_the_same() -> None:
    counts = confusion(run(0, 1, 1, 0, 0), CLASSES)
    assert as_csv(counts).splitlines() == [
        "true class,0,1,2", "0,2,0,0", "1,1,1,0", "2,0,1,0", "none was right,0,0,0",
    ]  # fmt: skip
    picture = as_svg(counts, "Bop <seed 11>")
    assert picture is not None
    root = ElementTree.fromstring(picture)
    texts = ["".join(element.itertext()) for element in root.iter() if element.tag.endswith("}text")]
    assert "Bop <seed 11>" in texts and texts.count("1") == 3 + 2, "counts of one, and the class in row and column"
    assert "none was right" not in texts


def test_of_very_many_classes_there_is_no_picture() -> None:
    assert as_svg(np.zeros((202, 201), dtype=np.int64), "x") is None
