"""Running the notebooks with papermill.

A run executes the notebooks in order. One that fails does not stop the others: its partial
notebook stays, and the report names the cell. A run never touches the stored outputs in
`notebooks/`; `storage.refresh` alone writes them.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tutorial_lib import CHECKOUT
from tutorial_lib.data import absolute
from tutorial_lib.errors import InputError, check_choice, write_atomically
from tutorial_lib.notebook import PROFILES
from tutorial_tools import outcomes, report
from tutorial_tools.watching import MemoryWatch, ledger

NOTEBOOKS = CHECKOUT / "notebooks"
CELL_TIMEOUT = 900  # seconds; the longest cell of the quick profile takes two minutes on two cores
PLACES = {"data_dir", "weights"}  # parameters that name a folder or a file
NO_PLACES = ("", "imagenet")  # what they say when they name none
WORDS = {"true": True, "1": True, "yes": True, "on": True}
WORDS |= {"false": False, "0": False, "no": False, "off": False}
CONVERSIONS = {"int": int, "float": float, "bool": lambda text: WORDS[text.lower()]}


@dataclass
class Result:
    """What became of one notebook.

    Attributes:
        name: File name without suffix.
        status: "not run", "running", "passed", "failed" or "interrupted".
        seconds: Wall-clock time.
        output: The executed notebook, complete or partial.
        error: One line that names the cell and says what happened; empty if all went well.
        device: What the notebook's banner says it ran on.
        parameters: What it was run with, beside its own defaults.
        data: The data sets it used: name → sha256 of the file that identifies the set.
        megabytes: Most memory that its kernel held at once, in 10⁶ bytes.
        cells: One dict a code cell, as `outcomes.read_cells` describes it.
    """

    name: str
    status: str = "not run"
    seconds: float = 0.0
    output: str = ""
    error: str = ""
    device: str = ""
    parameters: dict = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    megabytes: int = 0
    cells: list[dict] = field(default_factory=list)

    def summary(self) -> str:
        """Return one line for a terminal."""
        doubts = [check["text"] for check in outcomes.failed_checks(self.cells)]
        notes = [self.error] * bool(self.error) + [f"says `{text}`" for text in doubts]
        return f"{self.status} in {self.seconds:.0f} s{': ' if notes else ''}{'; '.join(notes)}"


def find_notebooks(names: Iterable[str] = (), folder: Path = NOTEBOOKS) -> list[Path]:
    """Return the notebooks in order: all of them, or those whose name starts with a given one.

    Raises:
        InputError: if there are none, or a name fits none.
    """
    available = sorted(folder.glob("[0-9]*.ipynb"))
    if not available:
        raise InputError(
            f"no notebooks in {folder}; run this from a checkout, installed with `pip install -e .`"
        )
    chosen = []
    for name in names:
        stem = Path(name).name.removesuffix(".ipynb")
        fitting = [path for path in available if path.stem.startswith(stem)]
        if not fitting:
            known = ", ".join(path.stem for path in available)
            raise InputError(f"no notebook is called {name!r}; choose from {known}")
        chosen += fitting
    return sorted(set(chosen)) if chosen else available


def notebook_parameters(path: Path) -> dict[str, dict]:
    """Return the parameters of a notebook: name → type, default and help, all as text.

    One that cannot be read has none; whoever runs it is told why.
    """
    from papermill import inspect_notebook

    try:
        entries = inspect_notebook(str(path))
    except Exception:  # what papermill and nbformat raise at a damaged file is of every kind
        return {}
    return {
        name: {
            "type": entry["inferred_type_name"],
            "default": entry["default"],
            "help": entry["help"],
        }
        for name, entry in entries.items()
    }


def typed_parameters(path: Path, given: dict[str, str]) -> dict:
    """Turn `name=text` pairs into values of the types that the notebook declares.

    Parameters that this notebook does not have are left out; `check_parameters` finds those that
    no notebook has.

    Raises:
        InputError: if a text is not of the declared type.
    """
    values = {}
    for name, entry in notebook_parameters(path).items():
        if name not in given:
            continue
        text = given[name]
        try:
            values[name] = CONVERSIONS.get(entry["type"], str)(text)
        except (ValueError, KeyError):
            wanted = entry["type"]
            raise InputError(
                f"{name}={text!r} cannot be used; give a value of type {wanted}"
            ) from None
    # The kernel works in notebooks/, the user somewhere else.
    for name in PLACES & values.keys():
        if values[name] not in NO_PLACES:
            values[name] = str(absolute(values[name], name))
    return values


def check_parameters(paths: Iterable[Path], given: dict[str, str]) -> None:
    """Raise InputError if no chosen notebook has a parameter, or the profile is unknown."""
    known = {name for path in paths for name in notebook_parameters(path)}
    for name in given:
        check_choice("parameter", name, sorted(known))
    check_choice("profile", given.get("profile", PROFILES[0]), PROFILES)


def execute(
    source: Path, output: Path, parameters: dict, timeout: int, progress: bool = False
) -> Result:
    """Execute one notebook and say what became of it.

    The kernel is killed whatever happens, also at Ctrl-C, and the output is written after each
    cell, so that a run that dies leaves what it had.

    Args:
        source: The notebook to run; it is only read.
        output: Where the executed notebook goes.
        parameters: Values for its `parameters` cell.
        timeout: Whole seconds that one cell may take.
        progress: Show a bar over the cells.

    Raises:
        InputError: if the output cannot be written.
    """
    import papermill
    from nbclient.exceptions import CellTimeoutError, DeadKernelError
    from papermill.exceptions import PapermillExecutionError

    result = Result(source.stem, output=str(output), parameters=parameters)
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.unlink(missing_ok=True)
        output.touch()
    except OSError as error:
        raise InputError(
            f"cannot write {output} ({error.strerror}); choose another folder with --output"
        ) from None
    start = time.perf_counter()
    with MemoryWatch() as memory, ledger(result.data):
        try:
            look_for_kernel(source)
            papermill.execute_notebook(
                source,
                output,
                parameters,
                progress_bar={"desc": source.stem, "leave": False} if progress else False,
                cwd=source.parent,
                execution_timeout=timeout,
                start_timeout=180,
                shutdown_kernel="immediate",  # a busy kernel would not hear a polite request
                extra_arguments=["--log-level=ERROR"],  # its warnings would tear the progress bar
            )
            result.status, what = "passed", ""
        except KeyboardInterrupt:
            result.status, what = "interrupted", "interrupted"
        except PapermillExecutionError as error:
            result.status, what = "failed", one_line(f"{error.ename}: {error.evalue}")
        except CellTimeoutError:
            result.status, what = "failed", f"took longer than {timeout:g} s; see --timeout"
        except DeadKernelError:
            result.status, what = "failed", "the kernel died; was there enough memory?"
        except Exception as error:  # a damaged notebook, an unknown kernel: of every kind
            result.status, what = "failed", one_line(f"{type(error).__name__}: {error}")
    result.seconds = round(time.perf_counter() - start, 1)
    result.megabytes = round(memory.peak(0, time.time()) / 1e6)
    executed = outcomes.load(output)
    if executed["cells"]:
        join_texts(executed)
        text = json.dumps(executed, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        write_atomically(output, text)
        result.cells = outcomes.read_cells(executed, outcomes.load(source), memory.peak)
    result.device = outcomes.device(executed)
    if result.status != "passed":
        result.error = f"{failing_cell(result.cells)}: {what}"
    return result


def look_for_kernel(source: Path) -> None:
    """Raise NoSuchKernel if a notebook wants one that is not installed.

    Papermill would log a traceback, and mark all cells as completed.
    """
    from jupyter_client.kernelspec import KernelSpecManager

    wanted = outcomes.load(source).get("metadata", {}).get("kernelspec", {})
    if "name" in wanted:
        KernelSpecManager().get_kernel_spec(wanted["name"])


def join_texts(notebook: dict) -> None:
    """Join what a cell printed without anything in between; each stream by itself.

    A kernel sends it in pieces, and where it cuts depends on how busy the machine is.
    """
    for cell in notebook["cells"]:
        joined: list[dict] = []
        for output in cell.get("outputs", []):
            last = joined[-1] if joined else {}
            if "name" in output and output["name"] == last.get("name"):
                last["text"] = "".join([*last["text"], *output["text"]])
            else:
                joined.append(output)
        if "outputs" in cell:
            cell["outputs"] = joined


def one_line(message: str) -> str:
    """Return a message without line breaks, for a list or a terminal."""
    return " ".join(message.split())


def failing_cell(cells: list[dict]) -> str:
    """Name the cell that a run ended in."""
    ran = [cell for cell in cells if cell["status"] != "not run"]
    ended = [cell for cell in ran if cell["status"] != "completed"] or ran[-1:]
    if not ended:
        return "before the first cell"
    cell = ended[-1]
    return f"cell {cell['position']} (`{cell['first_line']}`)"


def run(
    paths: list[Path],
    parameters: dict[str, str],
    build: Path,
    timeout: int = CELL_TIMEOUT,
    echo: Callable[[str], None] = print,
    progress: bool = False,
) -> list[Result]:
    """Execute notebooks in order into `build/notebooks` and report to `build/report`.

    Args:
        paths: The notebooks.
        parameters: Texts by name, as given on the command line.
        build: Folder for all that is made.
        timeout: Whole seconds that one cell may take.
        echo: Called with one line before and after each notebook.
        progress: Show a bar over the cells of each notebook.

    Returns:
        One result a notebook. After an interrupt the remaining ones are "not run".

    Raises:
        InputError: if a parameter cannot be used, or the folder cannot be written or is that of
            the notebooks themselves.
    """
    check_parameters(paths, parameters)
    values = {path: typed_parameters(path, parameters) for path in paths}
    outputs = [build / "notebooks" / path.name for path in paths]
    for path, output in zip(paths, outputs, strict=True):
        if output.exists() and output.samefile(path):
            raise InputError(f"{path} would overwrite itself; choose another folder with --output")
    results = [
        Result(path.stem, output=str(output), parameters=values[path])
        for path, output in zip(paths, outputs, strict=True)
    ]
    record = report.Report(build / "report", results)
    for number, path in enumerate(paths):
        echo(f"[{number + 1}/{len(paths)}] {path.stem} …")
        results[number].status = "running"
        record.write()  # so that even a run that is killed leaves a report
        results[number] = execute(path, outputs[number], values[path], timeout, progress)
        echo(f"      {results[number].summary()}")
        record.write()
        if results[number].status == "interrupted":
            break
    return results
