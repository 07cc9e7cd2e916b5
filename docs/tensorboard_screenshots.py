"""Take the screenshots of TensorBoard that notebook 04 shows, from the log of its last run.

python docs/tensorboard_screenshots.py [CHROMIUM]
"""

import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from playwright.sync_api import sync_playwright

from tutorial_lib.data import data_home

IMAGES = Path(__file__).parent / "images"
PORT = 6116
# The page of each image, and what to type into its filter.
PAGES = {
    "loss": ("timeseries", "epoch_loss"),
    "images": ("timeseries", "input"),
    "graph": ("graphs&run=unet%2Ftriples", ""),
}


def wait_for(address: str, seconds: int = 60) -> None:
    """Return when a server answers at an address."""
    for _ in range(seconds):
        try:
            urllib.request.urlopen(address)
            return
        except OSError:
            time.sleep(1)
    raise SystemExit(f"nothing answers at {address} after {seconds} seconds")


def main(chromium: str) -> None:
    log, address = data_home() / "cache" / "tensorboard", f"http://localhost:{PORT}"
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", log, "--port", str(PORT)]
    server = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    try:
        wait_for(address)
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            for name, (page, wanted) in PAGES.items():
                view = browser.new_page(viewport={"width": 1000, "height": 620})
                view.goto(f"{address}/#{page}")
                if wanted:
                    view.get_by_role("combobox", name="Filter tags (regex)").fill(wanted)
                    view.get_by_role("button", name="Settings").last.click()  # closes the panel
                view.wait_for_timeout(15_000)  # the pages draw without telling when they are done
                view.screenshot(path=IMAGES / f"tensorboard-{name}.png")
            browser.close()
    finally:
        server.terminate()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else shutil.which("chromium"))
