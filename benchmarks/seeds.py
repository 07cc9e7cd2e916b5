"""How much do the numbers that a notebook records depend on the random seed?

    python benchmarks/seeds.py 03 0 1 2

Executes the notebook once per seed and prints a table with mean and standard deviation. Networks
that do not come with the notebook are trained, and kept in the data folder.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
from common import notebook_path, row

from tutorial_tools import report, runner


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapter")
    parser.add_argument("seeds", nargs="+", type=int)
    options = parser.parse_args()
    path, runs = notebook_path(options.chapter), []
    for seed in options.seeds:
        with tempfile.TemporaryDirectory() as folder:
            output = Path(folder) / path.name
            result = runner.execute(path, output, {"seed": seed}, runner.CELL_TIMEOUT)
        if result.status != "passed":
            raise SystemExit(f"seed {seed}: {result.summary()}")
        runs.append(report.metrics_of(vars(result)))
    names = [*(f"seed {seed}" for seed in options.seeds), "mean", "deviation"]
    print(f"| {path.stem} | {' | '.join(names)} |\n{'|---' * (len(names) + 1)}|")
    for name in runs[0]:
        values = [run[name] for run in runs]
        print(row(name, [*values, np.mean(values), np.std(values, ddof=1)], 4))


if __name__ == "__main__":
    main()
