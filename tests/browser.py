"""A person's browser: Chromium without a window, at the width of a desk or of a phone, and pictures of what it shows.

`STUDY_PICTURES=DIR pytest ...` keeps the pictures in a folder; otherwise they are in the test's own.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

DESKTOP, PHONE = (1600, 1300), (390, 844)
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
)  # fmt: skip


def require_browser() -> tuple[str, str]:
    """Chromium and its driver, or the reason for which a test is skipped."""
    pytest.importorskip("selenium", reason="selenium is not installed; it comes with the extra `browser`")
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("no Chromium with its chromedriver; Debian's packages are chromium and chromium-driver")
    return browser, driver


@contextmanager
def opened(profile: Path, size: tuple[int, int] = DESKTOP) -> Iterator[Any]:
    """A browser of this size with a fresh profile; one as narrow as a phone says that it is one."""
    browser, driver = require_browser()
    from selenium import webdriver
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = browser
    for flag in (*FLAGS, f"--window-size={size[0]},{size[1]}", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    if size == PHONE:
        metrics = {"width": size[0], "height": size[1], "pixelRatio": 2.0, "mobile": True}
        options.add_experimental_option("mobileEmulation", {"deviceMetrics": metrics})
    window = webdriver.Chrome(options=options, service=Service(driver))
    try:
        yield window
    finally:
        window.quit()


def picture(window: Any, name: str, folder: Path) -> Path:
    """Take a picture of what is seen; returns its file."""
    place = Path(os.environ.get("STUDY_PICTURES", folder))
    place.mkdir(parents=True, exist_ok=True)
    file = place / f"{name}.png"
    window.save_screenshot(str(file))
    return file


def seen(window: Any) -> str:
    """The text that a person sees."""
    return str(window.execute_script("return document.body.innerText"))
