"""Print the chapters of a built site: `python docs/build_pdf.py SITE FOLDER`, or `make pdf`.

The program is Chromium, or the one that the environment variable CHROME names.
"""

import os
import shutil
import sys
from pathlib import Path


def print_page(browser, page: Path, target: Path) -> None:
    """Write a page of the site as PDF, with results unfolded and solutions folded."""
    tab = browser.new_page()
    tab.goto(page.resolve().as_uri())
    tab.evaluate("document.querySelectorAll('.below-input').forEach((d) => { d.open = true; })")
    tab.evaluate("document.getAnimations().forEach((each) => { each.finish(); })")  # they fade in
    margin = dict.fromkeys(("top", "bottom", "left", "right"), "15mm")
    tab.pdf(path=target, format="A4", margin=margin, scale=0.85, tagged=True, outline=True)
    tab.close()


if __name__ == "__main__":
    from playwright.sync_api import sync_playwright

    site, folder = map(Path, sys.argv[1:])
    program = os.environ.get("CHROME") or shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for page in sorted(site.glob("notebooks/*.html")):
            print_page(browser, page, folder / f"{page.stem}.pdf")
            print(folder / f"{page.stem}.pdf")
