"""Runs inside the kernels that `mutations.py` starts, as an IPython startup file.

Two things happen here that make mutants cheap, and neither changes what a notebook shows:

- A training that was done before is replayed. If net, optimizer, data and the code of models and
  losses are the same bit by bit, its weights after each epoch are read instead of computed.
- On request, it notes which lines of the library are executed: a change in others cannot be seen.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from pathlib import Path

KEPT = os.environ.get("MUTATIONS_TRAININGS", "")  # folder
LINES = os.environ.get("MUTATIONS_LINES", "")  # file
LIBRARY = Path(os.environ.get("MUTATIONS_PROJECT", ".")) / "tutorial_lib"
# What decides how a training goes, beside what is handed to `fit`.
TRAINING_CODE = ("training.py", "resuming.py", "losses.py", "distributed.py", "models/*.py")
PROBED = 3  # batches


def install() -> None:
    """Look at the start of each cell whether there is something to do."""
    from IPython import get_ipython

    shell = get_ipython()
    shell.events.register("pre_run_cell", lambda info: replay_trainings())
    if LINES:
        shell.events.register("pre_run_cell", lambda info: sys.settrace(trace))
        shell.events.register("post_run_cell", lambda result: write_lines())


def replay_trainings() -> None:
    """Wrap `keras.Model.fit`, as soon as the notebook has imported Keras."""
    keras = sys.modules.get("keras")
    if not KEPT or not hasattr(keras, "Model") or hasattr(keras.Model.fit, "replays"):
        return
    fit = keras.Model.fit

    def replayed(model, x=None, y=None, **options):
        options.setdefault("epochs", 1)
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        path = Path(KEPT) / f"{fingerprint(model, x, y, options)}.npz"
        if path.exists():
            return replay(keras, model, path, options)
        recorder = Recorder(keras)
        options["callbacks"] = [*(options.get("callbacks") or []), recorder.callback]
        result = fit(model, x, y, **options)
        recorder.save(path)
        return result

    replayed.replays = True
    keras.Model.fit = replayed


def variables(model) -> list:
    return [*model.variables, *model.optimizer.variables]


class Recorder:
    """Keeps what training has made of a model at the end of each epoch."""

    def __init__(self, keras):
        self.states, self.logs = [], []
        self.callback = keras.callbacks.LambdaCallback(on_epoch_end=self.note)

    def note(self, epoch, logs) -> None:
        model = self.callback.model
        self.states.append([variable.numpy() for variable in variables(model)])
        self.logs.append([epoch, {name: float(value) for name, value in (logs or {}).items()}])

    def save(self, path: Path) -> None:
        import numpy as np

        arrays = {
            f"{epoch}-{number}": array
            for epoch, state in enumerate(self.states)
            for number, array in enumerate(state)
        }
        partial = path.with_name(f".{os.getpid()}-{path.name}")
        np.savez(partial, logs=json.dumps(self.logs), **arrays)
        partial.replace(path)


def replay(keras, model, path: Path, options: dict):
    """Do as `fit` did, without computing; the callbacks see each epoch's end."""
    import numpy as np

    history = keras.callbacks.History()
    calls = [*(options.get("callbacks") or []), history]
    for call in calls:
        call.set_model(model)
        call.set_params({"epochs": options["epochs"], "steps": None, "verbose": 0})
        call.on_train_begin()
    with np.load(path, allow_pickle=False) as file:
        for index, (epoch, logs) in enumerate(json.loads(str(file["logs"]))):
            for number, variable in enumerate(variables(model)):
                variable.assign(file[f"{index}-{number}"])
            for call in calls:
                call.on_epoch_end(epoch, dict(logs))
    for call in calls:
        call.on_train_end()
    model.history = history
    return history


def fingerprint(model, x, y, options: dict) -> str:
    """Return a hash over all that a training depends on."""
    import numpy as np

    digest = hashlib.sha256()
    for pattern in TRAINING_CODE:
        for path in sorted(LIBRARY.glob(pattern)):
            digest.update(path.read_bytes())
    plain = {n: v for n, v in options.items() if isinstance(v, int | float | str | type(None))}
    settings = [model.to_json(), model.optimizer.get_config(), str(model.loss), plain]
    settings.append([v.trainable for v in model.variables])
    settings.append([type(call).__name__ for call in options.get("callbacks") or []])
    text = json.dumps(settings, sort_keys=True, default=str)
    digest.update(" ".join(word for word in text.split() if not word.startswith("0x")).encode())
    for variable in variables(model):
        digest.update(np.ascontiguousarray(variable.numpy()).data)
    for data in (x, y, options.get("validation_data")):
        for array in probe(data):
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()[:32]


def probe(data):
    """Yield arrays that tell one data set from another: arrays whole, streams by their start."""
    import itertools

    import numpy as np

    if data is None:
        return
    if isinstance(data, tuple | list):
        for part in data:
            yield from probe(part)
    elif hasattr(data, "take") and hasattr(data, "element_spec"):
        for batch in itertools.islice(data, PROBED):
            yield from (np.asarray(part) for part in batch)
    else:
        yield np.asarray(data)


executed: set[tuple[str, int]] = set()


def trace(frame, event, argument):
    """Note the lines of the library; functions elsewhere run at full speed."""
    name = frame.f_code.co_filename
    if not name.startswith(str(LIBRARY)):
        return None
    executed.add((name, frame.f_lineno))
    return trace


def write_lines() -> None:
    rows = sorted({f"{Path(name).relative_to(LIBRARY)}:{line}" for name, line in executed})
    Path(LINES).write_text("\n".join(rows), encoding="utf-8")


install()
