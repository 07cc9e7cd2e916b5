"""Do the notebooks still say what they say elsewhere? Their check under one change at a time.

    python benchmarks/robustness.py 01 02 --matplotlib 3.11.1 --log build/robustness.jsonl --write
    python benchmarks/robustness.py 03 --only "SSE4.1" "oneDNN off"

Every variant checks the notebooks as `make test` does, in a copy of the project; the exit status is
1 if a check failed. With `--log`, each outcome is appended to a file, and what is in it is not
tried again. `--write` puts the table into docs/checking.md.

It also measures by how much the pictures of trained nets differ from the stored ones, at most over
all variants: that is what a tag such as `figure-within-30%` should go by. `--tag` writes such tags
into the notebooks, with room for three times the measured distance.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.copies import copy_project, link_caches, notebook_path, put  # noqa: E402, not installed
from tutorial_tools import canonical
from tutorial_tools.image_diff import TOLERANCE

ONE = dict.fromkeys(
    ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"),
    "1",
)
ROOM, LEAST, MOST = 3, 5, 80  # of the tags: factor, and percent
TAG = re.compile(r"figure-trained|figure-within-\d+%")


@dataclass(frozen=True)
class Variant:
    """What is other than usual.

    Attributes:
        name: As it stands in the table.
        environment: Variables.
        hogs: Busy processes a core that run beside the check.
        folder: Name of the folder of the copy.
        fresh: Compose all scenes anew.
    """

    name: str
    environment: dict[str, str] = field(default_factory=dict)
    hogs: int = 0
    folder: str = "project"
    fresh: bool = False


VARIANTS = (
    Variant("as it is"),
    Variant("oneDNN off", {"TF_ENABLE_ONEDNN_OPTS": "0"}),
    Variant("AVX2", {"ONEDNN_MAX_CPU_ISA": "AVX2"}),
    Variant("SSE4.1", {"ONEDNN_MAX_CPU_ISA": "SSE41"}),
    Variant("1 thread", ONE),
    Variant("2 threads", {name: "2" for name in ONE}),
    Variant("beside two busy processes a core", hogs=2),
    Variant("path with spaces, umlauts and signs; no caches", folder="Übung 1 & 字", fresh=True),
    Variant("time zone of Kathmandu", {"TZ": "Asia/Kathmandu"}),
    Variant("Turkish locale", {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"}),
    Variant(
        "C locale without UTF-8",
        {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ),
    Variant("another hash seed", {"PYTHONHASHSEED": "7"}),
)


def check(variant: Variant, number: str, other_packages: str = "") -> dict:
    """Check one notebook under one variant; return its record."""
    name = notebook_path(number).stem
    with tempfile.TemporaryDirectory() as place, busy(variant.hogs * (os.cpu_count() or 1)):
        folder = Path(place) / variant.folder
        copy_project(folder, [name])
        environment = os.environ | variant.environment
        found = [other_packages, str(folder)] if other_packages else [str(folder)]
        environment["PYTHONPATH"] = os.pathsep.join(found)
        environment["TUTORIAL_DATA"] = str(folder / "data")
        if not variant.fresh:
            link_caches(folder / "data")
        command = [sys.executable, "-m", "pytest", "--nbval", "-q", "-p", "no:cacheprovider"]
        start = time.monotonic()
        done = subprocess.run(
            [*command, "--junitxml", "result.xml", f"notebooks/{name}.ipynb"],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
        )
        seconds = time.monotonic() - start
        if done.returncode:
            print(done.stdout, flush=True)
        failed, distances = read(folder / "result.xml")
        if done.returncode and not failed:
            failed = [done.stdout.strip().rpartition("\n")[2] or f"status {done.returncode}"]
    return {
        "variant": variant.name,
        "notebook": name,
        "passed": done.returncode == 0,
        "failed": failed,
        "minutes": round(seconds / 60, 2),
        "distances": distances,
    }


@contextlib.contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep processors busy meanwhile."""
    loop = [sys.executable, "-c", "while True: pass"]
    hogs = [subprocess.Popen(loop) for _ in range(count)]
    try:
        yield
    finally:
        for hog in hogs:
            hog.kill()
            hog.wait()


def read(path: Path) -> tuple[list[str], dict[str, float]]:
    """Return from pytest's JUnit file what failed, and the largest picture distance by cell."""
    failed, distances = [], {}
    if not path.exists():
        return failed, distances
    for case in ElementTree.parse(path).getroot().iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(case.get("name", ""))
        found = [float(p.get("value")) for p in case.iter("property")]
        if found:
            distances[case.get("name", "")] = max(found)
    return failed, distances


@contextlib.contextmanager
def other_matplotlib(version: str) -> Iterator[str]:
    """Install one more matplotlib into a folder of its own; yield the folder."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        subprocess.run([*command, "--target", folder, f"matplotlib=={version}"], check=True)
        yield folder


def table(records: list[dict]) -> str:
    """Return what passed where, as Markdown."""
    notebooks = sorted({record["notebook"] for record in records})
    by_place = {(record["variant"], record["notebook"]): record for record in records}
    heads = [name[:2] for name in notebooks]
    lines = [f"| variant | {' | '.join(heads)} |", f"|---|{'---|' * len(heads)}"]
    for variant in dict.fromkeys(record["variant"] for record in records):
        found = [by_place.get((variant, name)) for name in notebooks]
        lines.append(f"| {variant} | {' | '.join(map(outcome, found))} |")
    return "\n".join(lines)


def outcome(record: dict | None) -> str:
    if record is None:
        return ""
    minutes = f"{record['minutes']:.1f} min"
    if record["passed"]:
        return f"passed, {minutes}"
    return f"**failed** in {', '.join(record['failed'])}, {minutes}"


def trained_figures(records: list[dict]) -> dict[tuple[str, str], float]:
    """Return by notebook and cell id the largest distance of each figure of a trained net."""
    largest: dict[tuple[str, str], float] = {}
    for name in sorted({record["notebook"] for record in records}):
        code = [c for c in read_notebook(name)["cells"] if c["cell_type"] == "code"]
        for record in (record for record in records if record["notebook"] == name):
            for case, distance in record["distances"].items():
                cell = code[int(case.removeprefix("Cell "))]
                if any(TAG.fullmatch(tag) for tag in cell["metadata"].get("tags", [])):
                    key = name, cell["id"]
                    largest[key] = max(distance, largest.get(key, 0))
    return largest


def percent(distance: float) -> int:
    """Return the tolerance that a measured distance asks for, in steps of five."""
    return min(MOST, max(LEAST, 5 * math.ceil(round(ROOM * distance * 20, 6))))


def read_notebook(name: str) -> dict:
    return json.loads((ROOT / "notebooks" / f"{name}.ipynb").read_text(encoding="utf-8"))


def write_tags(largest: dict[tuple[str, str], float]) -> None:
    """Tag each figure of a trained net with its own tolerance."""
    for name in sorted({name for name, _ in largest}):
        notebook = read_notebook(name)
        for cell in notebook["cells"]:
            if (name, cell["id"]) in largest:
                tags = [tag for tag in cell["metadata"]["tags"] if not TAG.fullmatch(tag)]
                tags.append(f"figure-within-{percent(largest[name, cell['id']])}%")
                cell["metadata"]["tags"] = tags
        text = canonical.canonical(notebook)
        (ROOT / "notebooks" / f"{name}.ipynb").write_text(text, encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", help="e.g. 01 02; none: only print what a log says")
    parser.add_argument("--only", nargs="*", help="names of variants")
    parser.add_argument("--matplotlib", help="another version to try, downloaded with pip")
    parser.add_argument("--log", type=Path, help="file of outcomes, to go on from")
    parser.add_argument("--write", action="store_true", help="put the table into docs/checking.md")
    parser.add_argument("--tag", action="store_true", help="write tolerances into the notebooks")
    options = parser.parse_args()
    records = []
    if options.log and options.log.exists():
        records = [json.loads(row) for row in options.log.read_text(encoding="utf-8").splitlines()]
    known = {(record["variant"], record["notebook"]) for record in records}
    for record in outcomes(options, known):
        records.append(record)
        line = f"{record['notebook']}, {record['variant']}: {outcome(record)}"
        print(line, file=sys.stderr, flush=True)
        if options.log:
            options.log.parent.mkdir(parents=True, exist_ok=True)
            with options.log.open("a", encoding="utf-8") as file:
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
    print(table(records))
    largest, errors = trained_figures(records), sys.stderr
    for (name, cell), distance in largest.items():
        print(f"{name} {cell}: {distance:.2f}, so figure-within-{percent(distance)}%", file=errors)
    others = {case for r in records for case, d in r["distances"].items() if 0 < d <= TOLERANCE}
    print(f"drawings that differ somewhere, within the tolerance: {len(others)}", file=errors)
    if options.write:
        put("robustness", table(records))
    if options.tag:
        write_tags(largest)
    sys.exit(not all(record["passed"] for record in records))


def outcomes(options, known: set[tuple[str, str]]) -> Iterator[dict]:
    """Yield the outcomes that are not known yet."""
    variants = [v for v in VARIANTS if not options.only or v.name in options.only]
    for number in options.chapters:
        name = notebook_path(number).stem
        for variant in variants:
            if (variant.name, name) not in known:
                yield check(variant, number)
    if not options.matplotlib:
        return
    variant = Variant(f"matplotlib {options.matplotlib}")
    missing = [n for n in options.chapters if (variant.name, notebook_path(n).stem) not in known]
    if missing:
        with other_matplotlib(options.matplotlib) as packages:
            for number in missing:
                yield check(variant, number, packages)


if __name__ == "__main__":
    main()
