"""Runs many short pytest sessions with notebooks, and imports TensorFlow and pytest but once.

    python benchmarks/forkserver.py SOCKET          # the server
    python benchmarks/forkserver.py SOCKET FILE     # in place of a Jupyter kernel

The server imports what takes long and computes nothing. Each request makes it fork: the child
becomes a pytest session or a kernel, and finds everything loaded but the project itself. That
saves nine of every ten seconds when a check ends early. Linux and macOS only.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import sys
import threading
from pathlib import Path

HEAVY = (
    "tensorflow", "keras", "scipy.signal", "scipy.ndimage", "skimage", "matplotlib.figure",
    "matplotlib.backends.backend_agg", "PIL.Image", "ipykernel.kernelapp", "jupyter_client",
    "nbformat", "nbval.plugin", "_hypothesis_pytestplugin", "pytest",
)  # fmt: skip


def serve(path: str) -> None:
    import importlib

    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    for name in HEAVY:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        while True:
            connection, _ = listener.accept()
            if os.fork() == 0:
                listener.close()
                code = 1
                try:
                    code = work(connection)
                finally:
                    with contextlib.suppress(OSError):
                        connection.sendall(f"{int(code)}\n".encode())
                    os._exit(0)
            connection.close()


def work(connection: socket.socket) -> int:
    """Become what was asked for; return its exit status."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    job = json.loads(connection.makefile().readline())
    os.chdir(job["cwd"])
    os.environ.clear()
    os.environ.update(job["environment"])
    sys.path[:0] = job["environment"].get("PYTHONPATH", "").split(os.pathsep)
    threading.Thread(target=end_with, args=[connection], daemon=True).start()
    descriptor = os.open(job.get("output", os.devnull), os.O_WRONLY | os.O_CREAT)
    for standard in (1, 2):
        os.dup2(descriptor, standard)
    if "output" in job:
        import pytest

        code = pytest.main(job["arguments"])
        sys.stdout.flush()
        return code
    os.environ.pop("JPY_PARENT_PID", None)  # the parent is this server
    from ipykernel import kernelapp

    sys.argv = ["kernel", *job["arguments"]]
    kernelapp.launch_new_instance()
    return 0


def end_with(connection: socket.socket) -> None:
    """End this process when whoever asked for it is gone."""
    with contextlib.suppress(OSError):
        while connection.recv(1):
            pass
    os._exit(1)


def ask(path: str, timeout: float | None = None, **job) -> int:
    """Have a job done; return its exit status.

    Raises:
        TimeoutError: if it takes longer than so many seconds; the job is then ended.
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        connection.settimeout(timeout)
        connection.sendall((json.dumps(job) + "\n").encode())
        answer = connection.makefile().readline()
    return int(answer or 1)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        serve(sys.argv[1])
    else:
        sys.exit(
            ask(
                sys.argv[1],
                cwd=str(Path.cwd()),
                environment=dict(os.environ),
                arguments=["-f", sys.argv[2]],
            )
        )
