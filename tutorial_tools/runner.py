"""Running the notebooks with papermill.

A run executes the notebooks in order, or several at a time. One that fails does not stop the
others: its partial notebook stays, and the report names the cell. A run never changes the stored
outputs in `notebooks/`; only `canonical.refresh` writes them.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tutorial_lib import CHECKOUT
from tutorial_lib.data import absolute
from tutorial_lib.errors import InputError, check_choice
from tutorial_lib.notebook import PROFILES
from tutorial_tools import report

NOTEBOOKS = CHECKOUT / "notebooks"
CELL_TIMEOUT = 900  # seconds; the longest cell of the quick profile takes two minutes on two cores
PLACES = {"data_dir", "weights"}  # parameters that name a folder or a file
NO_PLACES = ("", "imagenet")  # values of these parameters that are no path
# Parameters that would be ignored while another one has this value.
UNUSED = {"data_dir": ("dataset", "bundled"), "weights": ("backbone", "vgg")}
WORDS = dict.fromkeys(("true", "1", "yes", "on"), True)
WORDS |= dict.fromkeys(("false", "0", "no", "off"), False)
CONVERSIONS = {"int": int, "float": float, "bool": lambda text: WORDS[text.lower()]}


@dataclass
class Result:
    """The outcome of one notebook.

    Attributes:
        status: "not run", "running", "passed", "failed" or "interrupted".
        output: The executed notebook, complete or partial.
        error: One line that names the cell and the error; empty if the notebook passed.
        device: The device that the notebook's banner names.
        parameters: What was set beside the notebook's own defaults.
        megabytes: Most memory that its kernel held at once, in 10⁶ bytes.
        cells: One dict per code cell, as `report.read_cells` describes it.
    """

    name: str
    status: str = "not run"
    seconds: float = 0.0
    output: str = ""
    error: str = ""
    device: str = ""
    parameters: dict = field(default_factory=dict)
    megabytes: int = 0
    cells: list[dict] = field(default_factory=list)

    def summary(self) -> str:
        """Return one line for a terminal."""
        return f"{self.status} in {self.seconds:.0f} s{self.error and ': '}{self.error}"


def find_notebooks(names: Iterable[str] = (), folder: Path = NOTEBOOKS) -> list[Path]:
    """Return the notebooks that `names` select, in the order of their names; all without any.

    A name is the path of a notebook, or the start of the name of one in `folder`. Raises InputError
    if a path is no file, a name fits no notebook, or there are no notebooks.
    """
    available = sorted(folder.glob("[0-9]*.ipynb"))
    known = ", ".join(path.stem for path in available)
    chosen = []
    for name in names:
        if name.endswith(".ipynb"):
            fitting = [path for path in (Path(name), folder / name) if path.is_file()][:1]
        else:
            fitting = [path for path in available if path.stem.startswith(name)]
        if not name or not fitting:
            raise InputError(f"no notebook is called {name!r}; give a path or one of {known}")
        chosen += [path.absolute() for path in fitting]
    if not available and not chosen:
        raise InputError(
            f"no notebooks in {folder}; run this from a checkout, installed with `pip install -e .`"
        )
    return sorted(set(chosen), key=lambda path: path.name) if chosen else available


def notebook_parameters(path: Path) -> dict[str, dict]:
    """Return the parameters of a notebook: name → type, default and help, all as text.

    A damaged notebook has none; executing it raises the error that the user should see.
    """
    from papermill import inspect_notebook

    try:
        found = inspect_notebook(str(path))
    except Exception:  # papermill and nbformat raise errors of every kind
        return {}
    kept = {"type": "inferred_type_name", "default": "default", "help": "help"}
    return {name: {k: entry[key] for k, key in kept.items()} for name, entry in found.items()}


def typed_parameters(path: Path, given: dict[str, str]) -> dict:
    """Convert texts by name to values of the types that the notebook declares.

    Parameters that this notebook does not have are left out, because another notebook of the same
    run may have them; `check_parameters` finds those that no notebook has. Raises InputError if a
    text is not of the declared type.
    """
    values = {}
    for name, entry in notebook_parameters(path).items():
        if name not in given:
            continue
        text, wanted = given[name], entry["type"]
        try:
            values[name] = CONVERSIONS.get(wanted, str)(text)
        except (ValueError, KeyError):
            message = f"{name}={text!r} cannot be used; give a value of type {wanted}"
            raise InputError(message) from None
        if name == "limit" and wanted == "int" and values[name] < 0:
            raise InputError(f"{name}={text!r} cannot be used; give 1 or more, or 0 for all")
        # The kernel works in notebooks/, the user somewhere else.
        if name in PLACES and text not in NO_PLACES:
            values[name] = str(absolute(text, name))
    return values


def check_parameters(paths: Iterable[Path], given: dict[str, str]) -> None:
    """Raise InputError if no notebook has or uses a parameter, or the profile is unknown."""
    known = {name: entry for path in paths for name, entry in notebook_parameters(path).items()}
    for name in given:
        check_choice("parameter", name, sorted(known))
    check_choice("profile", given.get("profile", PROFILES[0]), PROFILES)
    for name, (other, value) in UNUSED.items():
        default = known.get(other, {}).get("default", "").strip("\"'")
        if given.get(name) and given.get(other, default) == value:
            raise InputError(f"{name} is not used with {other}={value}; set {other}, too")


class MemoryWatch(threading.Thread):
    """Measures the most memory that the processes started since then hold, in bytes.

    Used as a context manager around the life of a kernel. It looks four times per second.
    """

    def __enter__(self) -> MemoryWatch:
        import psutil

        self.peak, self._ended = 0, threading.Event()
        self._me = psutil.Process()
        self._others = set(self._me.children(recursive=True))
        self.start()
        return self

    def __exit__(self, *error) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        import psutil

        while not self._ended.wait(0.25):
            held = 0
            for process in set(self._me.children(recursive=True)) - self._others:
                with contextlib.suppress(psutil.Error):  # it has ended
                    held += process.memory_info().rss
            self.peak = max(self.peak, held)


def execute(
    source: Path,
    output: Path,
    parameters: dict,
    timeout: int,
    progress: bool = False,
    line: int = 0,
) -> Result:
    """Execute one notebook.

    The kernel is killed whatever happens, also at Ctrl-C, and the output is written after each
    cell, so that an interrupted run leaves a partial notebook.

    Args:
        source, output: The notebook, which is only read, and where the executed one goes.
        timeout: Whole seconds that one cell may take.
        progress, line: Whether to show a progress bar, and how many lines below the cursor.

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
        reason = f"cannot write {output} ({error.strerror})"
        raise InputError(f"{reason}; choose another folder with --output") from None
    start = time.perf_counter()
    with MemoryWatch(daemon=True) as memory:
        try:
            _look_for_kernel(source)
            papermill.execute_notebook(
                source,
                output,
                parameters,
                progress_bar=progress and {"desc": source.stem, "leave": False, "position": line},
                cwd=source.parent,
                execution_timeout=timeout,
                start_timeout=180,
                coalesce_streams=True,  # a kernel cuts what is printed into pieces of any size
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
    result.megabytes = round(memory.peak / 1e6)
    _read_output(result, what)
    return result


def _read_output(result: Result, what: str) -> None:
    """Complete a result with what the executed notebook holds; `what` went wrong, if anything."""
    if executed := report.read_json(Path(result.output)):
        result.cells = report.read_cells(executed)
        result.device = report.device_of(executed)
    if result.status != "passed":
        result.error = f"{_failing_cell(result.cells)}: {what}"


def _look_for_kernel(source: Path) -> None:
    """Raise NoSuchKernel if a notebook wants a kernel that is not installed.

    Papermill would log a traceback, and mark all cells as completed.
    """
    from jupyter_client.kernelspec import KernelSpecManager

    wanted = report.read_json(source).get("metadata", {}).get("kernelspec", {})
    if "name" in wanted:
        KernelSpecManager().get_kernel_spec(wanted["name"])


def one_line(message: str) -> str:
    """Return a message without line breaks."""
    return " ".join(message.split())


def _failing_cell(cells: list[dict]) -> str:
    """Name the cell that a run ended in."""
    ran = [cell for cell in cells if cell["status"] != "not run"]
    ended = [cell for cell in ran if cell["status"] != "completed"] or ran[-1:]
    if not ended:
        return "before the first cell"
    return f"cell {ended[-1]['position']} (`{ended[-1]['first_line']}`)"


def run_notebooks(
    paths: list[Path],
    parameters: dict[str, str],
    build: Path,
    timeout: int = CELL_TIMEOUT,
    echo: Callable[[str], None] = print,
    progress: bool = False,
    jobs: int = 1,
) -> list[Result]:
    """Execute notebooks into `build/notebooks` and report to `build/report`.

    Args:
        parameters: Texts by name, as given on the command line.
        timeout: Whole seconds that one cell may take.
        echo: Called with one line before and after each notebook.
        progress: Whether to show a progress bar for each notebook that is running.
        jobs: Number of notebooks that run at the same time.

    Returns:
        One result per notebook. After an interrupt the remaining ones are "not run".

    Raises:
        InputError: if a parameter cannot be used, the folder cannot be written, or an output would
            overwrite its notebook or another output.
    """
    import joblib

    check_parameters(paths, parameters)
    results = [
        Result(
            path.stem,
            output=str(build / "notebooks" / path.name),
            parameters=typed_parameters(path, parameters),
        )
        for path in paths
    ]
    names = [path.name for path in paths]
    if len(set(names)) < len(names):
        raise InputError(f"two notebooks have one name in {', '.join(names)}; run them apart")
    for path, result in zip(paths, results, strict=True):
        if Path(result.output).exists() and path.samefile(result.output):
            raise InputError(f"{path} would overwrite itself; choose another folder with --output")
    record = report.Report(build / "report", results)
    numbers = {path.stem: number for number, path in enumerate(paths)}
    # Later chapters take longer, so they start first where several run at a time.
    order = sorted(numbers.values(), reverse=jobs > 1)
    waiting = iter(order)

    def announce_next() -> None:
        number = next(waiting, None)
        if number is not None:
            echo(f"[{number + 1}/{len(paths)}] {paths[number].stem} …")
            results[number].status = "running"
        record.write()  # so that even a run that is killed leaves a report

    for _ in range(min(jobs, len(paths))):
        announce_next()
    calls = []
    for place, number in enumerate(order):
        output, planned = Path(results[number].output), results[number].parameters
        line = place % jobs  # of the progress bar
        calls.append(
            joblib.delayed(execute)(paths[number], output, planned, timeout, progress, line)
        )
    options = {"return_as": "generator_unordered", "pre_dispatch": "n_jobs", "batch_size": 1}
    done = joblib.Parallel(jobs, **options)(calls)
    try:
        for result in done:
            results[numbers[result.name]] = result
            echo(f"      {f'{result.name} ' if jobs > 1 else ''}{result.summary()}")
            if result.status == "interrupted":
                raise KeyboardInterrupt
            announce_next()
    except KeyboardInterrupt:
        done.close()  # kills what is still running
        for result in results:
            if result.status == "running":
                result.status = "interrupted"
                _read_output(result, "interrupted")
        record.write()
    return results
