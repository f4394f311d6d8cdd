"""Who follows a printed link sees the answer: accuracy and peak memory of the confirmed runs, by method."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from study.mlflow_export.delivery import deliver
from study.report.report import make_report
from tests.browser import DESKTOP, PHONE, opened, picture, require_browser, seen
from tests.study.cli.pages_server import environment, free_port, served
from tests.study.recorded_study import ACCURACY, MEMORY, MIB

pytestmark = pytest.mark.integration

METHODS = tuple(ACCURACY)


@pytest.fixture(scope="module")
def links(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The addresses that `ui` prints, by what they show, while it serves."""
    require_browser()
    folder = Path(shutil.copytree(recorded, tmp_path_factory.mktemp("pages") / "study"))
    make_report(folder)
    deliver(folder, show=lambda line: None)
    with served(folder, free_port(), environment(folder.parent / "installed")) as lines:
        yield {what: address for what, _, address in (line.partition(": ") for line in lines)}


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
def window(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Any]:
    with opened(tmp_path / "profile", request.param) as browser:
        yield browser


def wait_for(window: Any, folder: Path, *texts: str) -> str:
    """What is seen once all of these are; the page loads its data bit by bit."""
    from selenium.webdriver.support.ui import WebDriverWait

    def whole(_: Any) -> bool:
        return all(text in seen(window) for text in texts)

    try:
        WebDriverWait(window, 60).until(whole)
    except Exception:
        picture(window, "not-seen", folder)
        pytest.fail(f"not seen: {[text for text in texts if text not in seen(window)]} in\n{seen(window)}")
    return seen(window)


def test_the_charts_show_accuracy_against_memory_by_method(
    links: dict[str, str], window: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    window.get(links["Digits, MLP, accuracy and memory"])
    text = wait_for(window, tmp_path, "15 matching runs", "peak_memory_MiB vs. test_accuracy", *METHODS)
    picture(window, f"charts-{request.node.callspec.id}", tmp_path)
    assert "Group by: method" in text and "Sort: test_accuracy" in text
    assert "Accuracy and memory" in text and "Learning" in text
    bars = text[text.index("Accuracy and memory\n(") :]
    for method in METHODS:
        assert f"Group: {method}" in text
        assert f"{MEMORY[method] / MIB:g}" in bars, f"peak memory of {method}"
        assert f"{ACCURACY[method] - 0.01:.2f}" in bars, f"test accuracy of {method}"
    assert "Assistant" not in text


def test_the_table_shows_every_confirmed_run(
    links: dict[str, str], window: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    window.get(links["Digits, MLP, as a table"])
    text = wait_for(window, tmp_path, "15 matching runs", "test_accuracy", "peak_memory_MiB", "real-Adam · seed 11")
    picture(window, f"table-{request.node.callspec.id}", tmp_path)
    headers = ["method", "seed", "val_accuracy", "test_accuracy", "peak_memory_MiB", "state_bits_per_weight"]
    places = [element.location["x"] for header in headers for element in titled(window, header)]
    assert places == sorted(places) and len(places) >= len(headers) - 1, "columns stand in their order"
    assert "0.95" in text and re.search(rf"^{MEMORY['real-Adam'] / MIB:g}$", text, re.MULTILINE)
    assert text.index("Group: real-Adam") < text.index("Group: real-SGD") < text.index("Group: bop"), "the best first"


def titled(window: Any, header: str) -> list[Any]:
    return [
        element
        for element in window.find_elements("css selector", ".ag-header-cell")
        if element.text.strip().split("\n")[0] == header
    ]


def test_the_best_of_each_method_stand_side_by_side(links: dict[str, str], tmp_path: Path) -> None:
    with opened(tmp_path / "profile", DESKTOP) as window:
        window.get(links["Digits, MLP, best of each method side by side"])
        text = wait_for(
            window, tmp_path, "Comparing 5 Runs", "BinSFO · seed 13", "real-Adam · seed 13", "peak_memory_MiB"
        )
        picture(window, "best-of-each-method", tmp_path)
    assert "epoch" not in [line.strip() for line in text.splitlines()], "a step is no metric"


def test_the_report_is_read_where_the_runs_are(links: dict[str, str], tmp_path: Path) -> None:
    with opened(tmp_path / "profile", DESKTOP) as window:
        window.get(links["the report"])
        wait_for(window, tmp_path, "recorded: the comparison", "report.html", "figures")
        picture(window, "report", tmp_path)
        frames = window.find_elements("css selector", "iframe")
        window.switch_to.frame(frames[0])
        assert "The answer" in wait_for(window, tmp_path, "The answer", "real-Adam")
