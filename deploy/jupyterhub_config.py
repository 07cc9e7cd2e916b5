"""JupyterHub for a class on one Linux server with systemd; README.md says what to prepare.

It holds no password: learners are users of the server, in the group `learners`, and PAM checks
their passwords. The hub listens on this machine alone, so a web server with HTTPS stands before it.
"""

import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1]
STATE = "/var/lib/fcn-tutorials"  # what only the hub may read
HOUR = 60 * 60  # seconds

c = get_config()  # noqa: F821, JupyterHub defines it

c.JupyterHub.bind_url = "http://127.0.0.1:8000"
c.JupyterHub.hub_ip = "127.0.0.1"
c.JupyterHub.db_url = f"sqlite:///{STATE}/hub.sqlite"
c.JupyterHub.cookie_secret_file = f"{STATE}/cookie_secret"
c.ConfigurableHTTPProxy.pid_file = f"{STATE}/proxy.pid"
c.JupyterHub.authenticator_class = "pam"
c.PAMAuthenticator.allowed_groups = {"learners"}

# systemd starts each learner's JupyterLab as a unit of its own. The memory limit holds for all
# kernels of a learner together; when they exceed it, a process of this learner is ended.
c.JupyterHub.spawner_class = "systemd"
c.SystemdSpawner.isolate_tmp = True
c.SystemdSpawner.disable_user_sudo = True
c.Spawner.mem_limit = "4G"
c.Spawner.cpu_limit = 2
c.Spawner.cmd = [str(PROJECT / ".venv" / "bin" / "jupyterhub-singleuser")]
c.Spawner.default_url = "/lab"
c.Spawner.environment = {
    "TUTORIAL_DATA": "~/.cache/fcn-tutorials",  # what a learner's notebooks write
    "TUTORIAL_SHARED": str(PROJECT / "data"),  # scenes and records that all learners read
}

# Thirty people press the same button at the start of a lesson. The hub does not queue: whoever
# exceeds concurrent_spawn_limit gets an error page, so that stays at JupyterHub's default of 100.
c.JupyterHub.active_server_limit = 40
c.Spawner.start_timeout = 300
c.Spawner.http_timeout = 300

# A kernel ends after one idle hour, even if its page is open; a server without activity as well.
c.Spawner.args = [
    f"--MappingKernelManager.cull_idle_timeout={HOUR}",
    "--MappingKernelManager.cull_connected=True",
]
c.JupyterHub.services = [
    {
        "name": "idle-culler",
        "command": [sys.executable, "-m", "jupyterhub_idle_culler", f"--timeout={HOUR}"],
    }
]
c.JupyterHub.load_roles = [
    {
        "name": "idle-culler",
        "services": ["idle-culler"],
        "scopes": ["list:users", "read:users:activity", "read:servers", "delete:servers"],
    }
]
