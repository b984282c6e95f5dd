"""Debian's Chromium without a screen, for the tests of the page."""

import contextlib
import tempfile

from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from debian import program

SIZES = {"desktop": (1360, 1000), "phone": (390, 844)}


@contextlib.contextmanager
def browser(size: str = "desktop"):
    """A driver of a fresh browser; nothing of it is left."""
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium")
    for word in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--no-first-run",
                 "--hide-scrollbars"):  # fmt: skip
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(prefix="forerun-browser-", ignore_cleanup_errors=True) as folder:
        options.add_argument(f"--user-data-dir={folder}")
        driver = webdriver.Chrome(options, Service(program("chromedriver", "chromium-driver")))
        try:
            resize(driver, *SIZES[size], phone=size == "phone")
            yield driver
        finally:
            driver.quit()


def resize(driver, width: int, height: int, *, phone: bool = False) -> None:
    """Give the page this size, as a phone's screen with `phone`."""
    shape = {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", shape)


def prefer(driver, **features: str) -> None:
    """prefer(driver, color_scheme="dark", reduced_motion="reduce")"""
    wanted = [{"name": f"prefers-{name.replace('_', '-')}", "value": value} for name, value in features.items()]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": wanted})


def picture(driver, path) -> None:
    """The whole page as a PNG."""
    import base64

    path.parent.mkdir(parents=True, exist_ok=True)
    shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
    path.write_bytes(base64.b64decode(shot["data"]))
