"""What a person sees of a report: in Chromium, at the widths of a phone and of a desk, and what axe-core finds there.

The pictures stay in pytest's temporary folder; `pytest --basetemp=DIR` says where that is.
"""

import html
import importlib.resources
import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from study.report.report import make_report
from study.report.several import make_side_by_side
from tests.study.report.full_study import record_full_study

pytestmark = pytest.mark.integration

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
    "--virtual-time-budget=60000",
]
PHONE, DESK = 390, 1280
TALLEST = 14000  # pixels of a picture; Chromium makes none above 16384
SERIOUS = ("serious", "critical")
# The page reports to the frame around it, since Chromium's own window is never as narrow as a phone's.
ASK = """
<script>
addEventListener("load", async () => {
  document.querySelectorAll("details").forEach(one => one.open = true);
  const found = await axe.run(document, {resultTypes: ["violations"]});
  const wide = [...document.querySelectorAll("body *")].filter(
    one => !one.closest(".scroll, pre, .skip, thead, svg") && one.getBoundingClientRect().right > innerWidth + 1);
  parent.postMessage(JSON.stringify({
    width: innerWidth, page: document.documentElement.scrollWidth, height: document.documentElement.scrollHeight,
    wide: wide.map(one => one.tagName + " " + one.className),
    violations: found.violations.map(one => [one.impact, one.id, one.nodes.slice(0, 3).map(n => n.html.slice(0, 200))]),
  }), "*");
});
</script>
"""
FRAME = """<!DOCTYPE html><body style="margin:0">
<iframe src="{page}" style="border:0;width:{width}px;height:{height}px"></iframe><pre id="said"></pre>
<script>addEventListener("message", got => document.getElementById("said").textContent = got.data)</script>"""


@pytest.fixture(scope="module")
def reports(integration: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A report of one study, and of two side by side."""
    root = tmp_path_factory.mktemp("reports")
    for name in ("first", "second"):
        record_full_study(root / name, name)
    one = make_report(root / "first").html
    return {"one": one, "several": make_side_by_side([root / "first", root / "second"], root / "both").html}


def browse(page: Path, width: int, scratch: Path) -> tuple[dict[str, Any], Path]:
    """What the page says of itself in a window of this width, and a picture of it."""
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed")
    axe = pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    script = importlib.resources.files(axe).joinpath("axe.min.js").read_text(encoding="utf-8")
    text = page.read_text(encoding="utf-8")
    # The page allows no script: that, and nothing else, is lifted for the question.
    lifted = text.replace("default-src 'none'", "default-src 'none'; script-src 'unsafe-inline'")
    asked, frame = scratch / f"asked-{width}.html", scratch / f"frame-{width}.html"
    asked.write_text(lifted.replace("</body>", f"<script>{script}</script>{ASK}</body>"), encoding="utf-8")
    frame.write_text(FRAME.format(page=asked.as_uri(), width=width, height=1000))
    flags = [*FLAGS, f"--user-data-dir={scratch / 'profile'}", f"--window-size={max(width, 600)},1000"]
    dumped = subprocess.run(
        [CHROMIUM, *flags, "--dump-dom", frame.as_uri()], capture_output=True, text=True, timeout=180, check=True
    ).stdout
    said = dumped.partition('<pre id="said">')[2].partition("</pre>")[0]
    assert said, "the page never answered"
    answer = json.loads(html.unescape(said))
    picture, height = scratch / f"{page.stem}-{width}.png", min(int(answer["height"]), TALLEST)
    frame.write_text(FRAME.format(page=asked.as_uri(), width=width, height=height))
    flags[-1] = f"--window-size={max(width, 600)},{height}"
    subprocess.run(
        [CHROMIUM, *flags, f"--screenshot={picture}", frame.as_uri()], capture_output=True, timeout=180, check=True
    )
    return answer, picture


@pytest.mark.parametrize("width", [PHONE, DESK])
@pytest.mark.parametrize("which", ["one", "several"])
def test_report_fits_the_window_and_axe_finds_nothing_serious(
    reports: dict[str, Path], which: str, width: int, tmp_path: Path
) -> None:
    found, picture = browse(reports[which], width, tmp_path)
    assert found["width"] == width
    assert found["page"] <= width, f"wider than the window: {found['wide'][:5]}"
    assert not [one for one in found["violations"] if one[0] in SERIOUS]
    shown = np.asarray(Image.open(picture).convert("L"))
    assert shown[: min(1000, len(shown)), :width].std() > 10, f"{picture} is empty"
