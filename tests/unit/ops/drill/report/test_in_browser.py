"""The report in a real browser: without errors, at phone width, light and dark."""

import shutil
from collections.abc import Iterator

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from healthcare_dr.ops.drill.report.page import write_report
from unit.ops.drill.sample_journal import journal

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium or chromedriver is not installed")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = CHROMIUM or ""
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('chromium')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service(executable_path=DRIVER))
    try:
        driver.get(write_report(journal(), tmp_path_factory.mktemp("report")).as_uri())
        yield driver
    finally:
        driver.quit()


def width(browser: Chrome, pixels: int) -> None:
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": pixels, "height": 900, "deviceScaleFactor": 1, "mobile": False},
    )


def test_browser_logs_no_error(browser: Chrome) -> None:
    assert browser.title == "Lose us-east-1: passed (embedded)"
    assert browser.get_log("browser") == []  # type: ignore[no-untyped-call] # untyped in selenium


@pytest.mark.parametrize("pixels", [400, 1400])
def test_page_fits_the_width_and_shows_every_chart(browser: Chrome, pixels: int) -> None:
    width(browser, pixels)
    assert browser.execute_script("return window.innerWidth") == pixels
    assert browser.execute_script("return document.documentElement.scrollWidth") <= pixels
    found = browser.find_elements(By.CSS_SELECTOR, "svg.chart")
    assert len(found) == 7
    for chart in found:
        assert chart.size["width"] > pixels / 2
        assert chart.size["height"] > 40
        sizes = browser.execute_script(
            "return [...arguments[0].querySelectorAll('.mark')].map(m => m.getBBox()).map(b => b.width + b.height)",
            chart,
        )
        assert min(sizes) > 0


def test_dark_scheme_differs_and_print_is_light(browser: Chrome) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
        script = "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
        seen[scheme] = browser.execute_script(script)
    assert all(light != dark for light, dark in zip(seen["light"], seen["dark"], strict=True))
    browser.execute_cdp_cmd(
        "Emulation.setEmulatedMedia",
        {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]},
    )
    assert browser.execute_script(script) == seen["light"], "print uses the light scheme"
