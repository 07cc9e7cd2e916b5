"""What the tests share: their order, and a browser."""

import os
import shutil

import pytest

# The files that take longest, the longest first. If one of them came last, the other workers of
# `make test` would have nothing left to do while it runs.
LONGEST = [
    "05_fcn_voc",
    "04_unet_coco_cats",
    "test_real_data",
    "test_site",
    "03_autoencoder",
    "02_transposed_convolution",
    "test_recipes",
    "test_grading",
    "test_checkpoints",
    "test_training",
]


def pytest_collection_modifyitems(items):
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.stem, len(LONGEST)))


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
