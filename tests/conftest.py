"""What the tests in a browser share."""

import os
import shutil

import pytest


@pytest.fixture(scope="module")
def browser():
    """Start the system's Chromium, or the program that the variable CHROME names.

    Once per module: while it runs, no other test could start an event loop of its own.
    """
    api = pytest.importorskip("playwright.sync_api", reason="needs the site extra: playwright")
    names = (os.environ.get("CHROME"), "chromium", "chromium-browser", "google-chrome")
    program = next((found for name in names if name and (found := shutil.which(name))), None)
    if program is None:
        pytest.skip("no Chromium here; install one, or name it in the environment variable CHROME")
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield browser
        browser.close()
