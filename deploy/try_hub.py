"""Try the hub with a whole class on this machine: `sudo PYTHON deploy/try_hub.py`.

Real logins, servers, notebooks from nbgitpuller and kernels, on the loopback interface alone.
Needs root, control groups and git; PYTHON needs this project and deploy/requirements.txt, and
must be readable by every user. Prints what it measures and leaves nothing behind.
"""

import argparse
import concurrent.futures
import contextlib
import json
import os
import re
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import requests
import websocket

HERE = Path(__file__).resolve().parent
CHECKOUT = HERE.parent
CONTROL = Path("/sys/fs/cgroup")
GROUPS = (CONTROL if (CONTROL / "cgroup.controllers").exists() else CONTROL / "memory") / "trial"
NOTEBOOK = "notebooks/01_convolution_arithmetic.ipynb"


class Learner:
    """One learner: a login at the hub, a server and a kernel."""

    def __init__(self, hub: str, name: str, password: str):
        self.name, self.hub, self.web = name, hub, requests.Session()
        self.user, self.kernel, self.socket = f"{hub}/user/{name}", None, None
        self.begun = time.monotonic()
        self.web.get(f"{hub}/hub/login")
        form = {"username": name, "password": password, "_xsrf": self.web.cookies["_xsrf"]}
        page = self.web.post(f"{hub}/hub/login", data=form)
        assert page.ok and "/hub/login" not in page.url, (page.status_code, page.url)
        body = {"note": "trial", "expires_in": 7200}
        # The session's cookies open the hub; a token of the learner's own opens the server.
        header = {"X-XSRFToken": self.web.cookies.get("_xsrf", path="/hub/")}
        token = self.web.post(f"{hub}/hub/api/users/{name}/tokens", json=body, headers=header)
        self.header = {"Authorization": f"token {token.json()['token']}"}

    def call(self, method: str, url: str, **options):
        return requests.request(method, url, headers=self.header, timeout=300, **options)

    def wait_for_server(self) -> float:
        """Return the seconds from the login, which starts a server, until the server is there."""
        while not self.call("get", f"{self.hub}/hub/api/users/{self.name}").json()["server"]:
            time.sleep(1)
        return time.monotonic() - self.begun

    def pull(self, repository: str) -> None:
        """Fetch the notebooks as a link of nbgitpuller does."""
        choice = {"repo": repository, "branch": "main", "targetpath": "tutorial"}
        reply = self.call("get", f"{self.user}/git-pull/api", params=choice)
        assert '"phase": "finished"' in reply.text, reply.text[-500:]

    def start_kernel(self) -> None:
        reply = self.call("post", f"{self.user}/api/kernels", json={"path": f"tutorial/{NOTEBOOK}"})
        self.kernel = f"{self.user}/api/kernels/{reply.json()['id']}"
        address = self.kernel.replace("http", "ws", 1) + "/channels"
        header = [f"{key}: {value}" for key, value in self.header.items()]
        self.socket = websocket.create_connection(address, timeout=300, header=header)

    def stop_kernel(self) -> None:
        self.socket.close()
        self.call("delete", self.kernel)

    def execute(self, code: str) -> tuple[str, str]:
        """Run code; return "ok", "error" or "ended", and the text that it printed."""
        number, printed = uuid.uuid4().hex, ""
        header = {"msg_id": number, "msg_type": "execute_request", "version": "5.3"}
        header |= {"session": self.name, "username": self.name, "date": ""}
        content = {"code": code, "silent": False, "store_history": True, "allow_stdin": False}
        message = {"header": header, "parent_header": {}, "metadata": {}, "content": content}
        self.socket.send(json.dumps(message | {"channel": "shell", "buffers": []}))
        while True:
            received = self.socket.recv()
            if isinstance(received, bytes):  # what a widget sends
                continue
            reply = json.loads(received)
            content, kind = reply["content"], reply["header"]["msg_type"]
            if kind == "status" and content["execution_state"] in ("restarting", "dead"):
                return "ended", printed
            if reply["parent_header"].get("msg_id") == number:
                printed += content.get("text", "") if kind == "stream" else ""
                if kind == "execute_reply":
                    return content["status"], printed

    def run_notebook(self) -> dict:
        """Run the notebook in a new kernel; return seconds, errors and memory."""
        alone = memory(self.name)
        begun = time.monotonic()
        self.start_kernel()
        notebook = self.call("get", f"{self.user}/api/contents/tutorial/{NOTEBOOK}").json()
        cells = [cell for cell in notebook["content"]["cells"] if cell["cell_type"] == "code"]
        states = [self.execute(cell["source"])[0] for cell in cells]
        seconds, whole = time.monotonic() - begun, memory(self.name)
        self.stop_kernel()
        return {
            "seconds": seconds, "cells": len(cells), "failed": len(cells) - states.count("ok"),
            "server MB": alone, "server and kernel MB": whole,
        }  # fmt: skip


def memory(name: str) -> float:
    """Return the memory of a learner's processes in MB, without files that the system caches."""
    text = (GROUPS / name / "memory.stat").read_text()
    return int(re.search(r"^(?:anon|total_rss) (\d+)", text, re.M)[1]) / 1e6


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def start(folder: Path, password: str, options) -> tuple[str, str, list]:
    """Start the hub and a git server; return both addresses and the processes."""
    ports = [free_port() for _ in range(4)]
    hub = f"http://127.0.0.1:{ports[0]}"
    subprocess.run(
        ["git", "clone", "--quiet", "--bare", CHECKOUT, folder / "git/tutorial"], check=True
    )
    branch = ["git", "-C", folder / "git/tutorial", "branch", "--force", "main", "HEAD"]
    subprocess.run(branch, capture_output=True)
    environment = os.environ | {
        "TRIAL_FOLDER": str(folder), "TRIAL_GROUPS": str(GROUPS), "TRIAL_PASSWORD": password,
        "TRIAL_URL": hub, "TRIAL_HUB_PORT": str(ports[1]), "TRIAL_MEMORY": options.memory,
        "TRIAL_PROXY_API": f"http://127.0.0.1:{ports[2]}", "TRIAL_PYTHON": sys.executable,
        "TUTORIAL_SHARED": str(options.shared), "CONFIGPROXY_AUTH_TOKEN": secrets.token_hex(32),
    }  # fmt: skip
    commands = [
        [sys.executable, "-m", "jupyterhub", "-f", HERE / "trial_config.py"],
        ["git", "daemon", "--listen=127.0.0.1", f"--port={ports[3]}", "--export-all",
         f"--base-path={folder / 'git'}", "--reuseaddr"],
    ]  # fmt: skip
    with (folder / "log").open("w") as log:
        processes = [
            subprocess.Popen(
                c, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
            for c in commands
        ]
    for _ in range(60):
        with contextlib.suppress(requests.ConnectionError):
            if requests.get(f"{hub}/hub/api").ok:
                return hub, f"git://127.0.0.1:{ports[3]}/tutorial", processes
        time.sleep(1)
    raise SystemExit((folder / "log").read_text()[-3000:])


def scenes_at_once(folder: Path, count: int) -> None:
    """Let several processes need the same new scenes, and print what that costs."""
    source = "from tutorial_lib.data import scenes; scenes.coco_tree(train=240, val=30)"
    environment = os.environ | {"TUTORIAL_DATA": str(folder), "TUTORIAL_SHARED": ""}
    begun, used = time.monotonic(), os.times().children_user
    command = [sys.executable, "-c", source]
    for process in [subprocess.Popen(command, env=environment) for _ in range(count)]:
        assert process.wait() == 0
    used, seconds = os.times().children_user - used, time.monotonic() - begun
    print(
        f"{count} processes need the same scenes: {seconds:.0f} s, {used:.0f} s of CPU", flush=True
    )


def show(name: str, values: list[float]) -> None:
    print(f"{name}: median {statistics.median(values):.0f}, largest {max(values):.0f}", flush=True)


def trial(hub: str, repository: str, password: str, options) -> None:
    names = [f"learner{number:02}" for number in range(options.learners)]
    with concurrent.futures.ThreadPoolExecutor(len(names)) as pool:  # all at once
        learners = list(pool.map(lambda name: Learner(hub, name, password), names))
        print(f"{len(learners)} logins", flush=True)
        show("seconds until a server is there", list(pool.map(Learner.wait_for_server, learners)))
    with concurrent.futures.ThreadPoolExecutor(options.at_once) as pool:
        list(pool.map(lambda learner: learner.pull(repository), learners))
        print(f"{len(learners)} learners pulled the notebooks", flush=True)
        begun = time.monotonic()
        results = list(pool.map(Learner.run_notebook, learners))
    print(f"{NOTEBOOK}, {options.at_once} at a time: {time.monotonic() - begun:.0f} s in all")
    for key in results[0]:
        show(key, [result[key] for result in results])
    print(f"all servers together: {sum(map(memory, names)):.0f} MB", flush=True)

    first, second = learners[:2]
    first.start_kernel()
    second.start_kernel()
    second.execute("from pathlib import Path; Path('mine.txt').write_text('secret'); kept = 7")
    _, path = second.execute("print(Path('mine.txt').resolve())")
    _, said = first.execute(
        f"try: print(open({path.strip()!r}).read())\nexcept OSError as error: print(error.strerror)"
    )
    print(f"a learner opens the file of another: {said.strip()}")
    reply = first.call("get", f"{second.user}/api/contents")
    print(f"a learner asks the server of another for its files: HTTP {reply.status_code}")
    state, _ = first.execute("x = bytearray(64 * 10**9 // 4)\nx[::4096] = b'1' * len(x[::4096])")
    _, kept = second.execute("print(kept)")
    print(f"a kernel that fills the memory: {state}; the other learner's variable: {kept.strip()}")
    busy = sum(bool(learner.call("get", f"{learner.user}/api/status").ok) for learner in learners)
    print(f"servers that answer afterwards: {busy} of {len(learners)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--learners", type=int, default=30)
    parser.add_argument("--at-once", type=int, default=os.cpu_count())
    parser.add_argument("--memory", default="3G", help="limit for each learner")
    parser.add_argument("--shared", type=Path, default=CHECKOUT / "data")
    options = parser.parse_args()
    GROUPS.mkdir()
    if (GROUPS / "cgroup.controllers").exists():
        for group in (CONTROL, GROUPS):
            (group / "cgroup.subtree_control").write_text("+memory")
    password, processes = secrets.token_urlsafe(24), []
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o711)
        try:
            for count in (1, options.learners):
                scenes_at_once(Path(folder) / f"scenes-{count}", count)
            hub, repository, processes = start(Path(folder), password, options)
            trial(hub, repository, password, options)
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)
                process.wait(60)
            for group in GROUPS.iterdir():
                if group.is_dir():
                    for number in (group / "cgroup.procs").read_text().split():
                        os.kill(int(number), signal.SIGKILL)
            time.sleep(2)
            for group in [*filter(Path.is_dir, GROUPS.iterdir()), GROUPS]:
                group.rmdir()


if __name__ == "__main__":
    main()
