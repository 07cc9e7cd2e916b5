"""The configuration of `try_hub.py`: ours, but with invented learners and without systemd.

Each learner gets a user id and a home folder that nobody else can read, and a control group that
limits memory, as a unit of systemd would have. Needs root; leaves no users behind.
"""

import os
from pathlib import Path

from jupyterhub.spawner import LocalProcessSpawner

TRIAL = Path(os.environ["TRIAL_FOLDER"])
GROUPS = Path(os.environ["TRIAL_GROUPS"])  # the control group below which the learners' are
FIRST_USER = 30_000
V2 = (GROUPS / "cgroup.controllers").exists()


class TrialSpawner(LocalProcessSpawner):
    """Starts a server as a user of the learner's own, in the learner's control group."""

    def make_preexec_fn(self, name):
        number = FIRST_USER + int(name.removeprefix("learner"))
        home, group = TRIAL / "home" / name, GROUPS / name
        home.mkdir(parents=True, exist_ok=True)
        home.chmod(0o700)
        os.chown(home, number, number)
        group.mkdir(exist_ok=True)
        limit = group / ("memory.max" if V2 else "memory.limit_in_bytes")
        limit.write_text(str(self.mem_limit))

        def enter():
            (group / "cgroup.procs").write_text(str(os.getpid()))
            os.setgroups([])
            os.setgid(number)
            os.setuid(number)
            os.chdir(home)

        return enter

    def user_env(self, env):
        home = str(TRIAL / "home" / self.user.name)
        return env | {"USER": self.user.name, "HOME": home, "SHELL": "/bin/bash"}


STATE = TRIAL / "hub"
STATE.mkdir(mode=0o700, exist_ok=True)

c = get_config()  # noqa: F821, JupyterHub defines it
load_subconfig(str(Path(__file__).with_name("jupyterhub_config.py")))  # noqa: F821
c.JupyterHub.bind_url = os.environ["TRIAL_URL"]
c.JupyterHub.hub_port = int(os.environ["TRIAL_HUB_PORT"])
c.ConfigurableHTTPProxy.api_url = os.environ["TRIAL_PROXY_API"]
c.JupyterHub.authenticator_class = "shared-password"
c.SharedPasswordAuthenticator.user_password = os.environ["TRIAL_PASSWORD"]  # new for each trial
c.SharedPasswordAuthenticator.allow_all = True
c.JupyterHub.spawner_class = TrialSpawner
c.JupyterHub.db_url = f"sqlite:///{STATE / 'hub.sqlite'}"
c.JupyterHub.cookie_secret_file = str(STATE / "cookie_secret")
c.ConfigurableHTTPProxy.pid_file = str(STATE / "proxy.pid")
c.Spawner.mem_limit = os.environ["TRIAL_MEMORY"]
c.Spawner.cmd = [os.environ["TRIAL_PYTHON"], "-m", "jupyterhub.singleuser"]
c.Spawner.environment |= {"TUTORIAL_SHARED": os.environ["TUTORIAL_SHARED"]}
