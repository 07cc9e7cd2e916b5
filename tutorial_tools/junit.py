"""JUnit XML, the form in which continuous integration reads results: written and read."""

from __future__ import annotations

import functools
from pathlib import Path
from xml.etree import ElementTree

from tutorial_lib import CHECKOUT
from tutorial_tools.outcomes import ANSI, failed_checks, load, metrics_of

NBVAL = "Notebook cell execution failed"  # how nbval begins, whatever failed


def notebooks_xml(report: dict) -> bytes:
    """Return a run as JUnit XML: a suite a notebook, a case a code cell."""
    root = ElementTree.Element("testsuites", name="notebooks", time=str(report["seconds"]))
    for entry in report["notebooks"]:
        cases = [cell_case(entry, cell) for cell in entry["cells"]]
        outcomes = [child.tag for case in cases for child in case]
        # What ended the run in no cell of its own, a dead kernel say, must not get lost.
        if not cases or (entry["error"] and "failure" not in outcomes):
            kind = "error" if entry["error"] else "skipped"
            cases.append(case_of(entry, "run", 0.0, kind, entry["error"] or entry["status"]))
            outcomes.append(kind)
        counts = {"failures": "failure", "errors": "error", "skipped": "skipped"}
        suite = ElementTree.SubElement(
            root,
            "testsuite",
            name=entry["name"],
            time=str(entry["seconds"]),
            tests=str(len(cases)),
            **{name: str(outcomes.count(tag)) for name, tag in counts.items()},
        )
        properties = ElementTree.SubElement(suite, "properties")
        for name, value in metrics_of(entry).items():
            ElementTree.SubElement(properties, "property", name=name, value=str(value))
        suite.extend(cases)
    return ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)


def cell_case(entry: dict, cell: dict) -> ElementTree.Element:
    """Return the case of one cell: what it raised, and what it should not have said."""
    name = f"cell {cell['position']}: {cell['first_line']}"
    if cell["status"] == "not run":
        return case_of(entry, name, 0.0, "skipped", "not run")
    if cell["status"] != "completed":
        return case_of(entry, name, cell["seconds"], "failure", entry["error"], cell["error"])
    wrong = "; ".join(check["text"] for check in failed_checks([cell]))
    return case_of(entry, name, cell["seconds"], "failure" * bool(wrong), wrong)


def case_of(
    entry: dict, name: str, seconds: float, outcome: str = "", message: str = "", text: str = ""
) -> ElementTree.Element:
    """Return one case; `outcome` is "failure", "error", "skipped" or, if all is well, empty."""
    case = ElementTree.Element(
        "testcase", classname=entry["name"], name=printable(name), time=str(seconds)
    )
    if outcome:
        ElementTree.SubElement(case, outcome, message=printable(message)).text = printable(text)
    return case


def printable(text: str) -> str:
    """Leave out what XML cannot hold."""
    return "".join(c for c in text if c in "\t\n" or c.isprintable())


def read_tests(folder: Path) -> dict | None:
    """Read what pytest left in `tests.xml`.

    Returns:
        None if there is no such file, or it is damaged; else a dict: when, seconds (by the
        clock), tests, skipped, failures (dicts: name, message, text, evidence: names of pictures
        in `figures` beside the report's folder), files (dicts: name, tests, seconds (summed over
        workers), slowest; longest first).
    """
    try:
        suite = next(ElementTree.parse(folder / "tests.xml").getroot().iter("testsuite"))
    except (OSError, ElementTree.ParseError, StopIteration):
        return None
    evidence = sorted(path.name for path in (folder.parent / "figures").glob("*.png"))
    files: dict[str, list[tuple[float, str]]] = {}
    failures, skipped = [], 0
    for case in suite.iter("testcase"):
        file, name = place_of(case.get("classname", ""), case.get("name", ""))
        files.setdefault(file, []).append((float(case.get("time", 0)), name))
        skipped += case.find("skipped") is not None
        for problem in [*case.findall("failure"), *case.findall("error")]:
            text = ANSI.sub("", problem.text or "")
            failures.append(
                {
                    "name": f"{file}: {name}",
                    "message": headline(ANSI.sub("", problem.get("message", "")) or text)[:300],
                    "text": text,
                    "evidence": [name for name in evidence if name in text],
                }
            )
    return {
        "when": suite.get("timestamp", "")[:19],
        "seconds": float(suite.get("time", 0)),
        "tests": sum(map(len, files.values())),
        "skipped": skipped,
        "failures": failures,
        "files": sorted(
            (
                {
                    "name": name,
                    "tests": len(cases),
                    "seconds": sum(seconds for seconds, _ in cases),
                    "slowest": max(cases),
                }
                for name, cases in files.items()
            ),
            key=lambda file: -file["seconds"],
        ),
    }


def place_of(classname: str, name: str) -> tuple[str, str]:
    """Return file and name of a test; nbval's cells are numbered as everywhere in the report."""
    if not classname.endswith(".ipynb"):
        return classname.replace(".", "/"), name
    file = classname.removesuffix(".ipynb").replace(".", "/")
    number = int(name.removeprefix("Cell "))
    positions = code_positions(CHECKOUT / f"{file}.ipynb")
    return file, f"cell {positions[number]}" if number < len(positions) else name


@functools.cache
def code_positions(path: Path) -> list[int]:
    """Return where the code cells of a notebook stand among all its cells, counted from 1."""
    cells = load(path)["cells"]
    return [place for place, cell in enumerate(cells, start=1) if cell["cell_type"] == "code"]


def headline(message: str) -> str:
    """Return the one line of a failure's message that says most."""
    lines = [line.strip() for line in message.splitlines() if line.strip()] or ["failed"]
    if lines[0] != NBVAL:
        return lines[0]
    found = lines[lines.index("Traceback:") + 1 :] if "Traceback:" in lines else lines
    new, old = (next((x[2:] for x in found if x.startswith(sign)), "") for sign in ("- ", "+ "))
    return f"says `{new}`, stored is `{old}`" if new or old else found[-1]
