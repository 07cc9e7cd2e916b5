"""The server for a class is private, has limits for each learner, and agrees with the project."""

import runpy
from pathlib import Path

import pytest
import yaml
from traitlets.config import Config

from tutorial_lib import CHECKOUT

DEPLOY = CHECKOUT / "deploy"


@pytest.fixture(scope="module")
def config():
    read = Config()
    runpy.run_path(str(DEPLOY / "jupyterhub_config.py"), {"get_config": lambda: read})
    return read


def test_the_hub_is_private_and_has_no_password(config):
    assert config.JupyterHub.bind_url.startswith("http://127.0.0.1:")
    assert config.PAMAuthenticator.allowed_groups
    assert "DummyAuthenticator" not in config and "allow_all" not in config.get("Authenticator", {})
    for secret in (config.JupyterHub.db_url, config.JupyterHub.cookie_secret_file):
        assert secret.removeprefix("sqlite:///").startswith("/var/lib/fcn-tutorials/")
    for path in DEPLOY.iterdir():
        if path.name in ("jupyterhub_config.py", "values.yaml"):
            assert "password =" not in path.read_text(encoding="utf-8").lower()


def test_learners_share_what_is_made_and_write_to_their_own_home(config):
    places = config.Spawner.environment
    assert Path(places["TUTORIAL_SHARED"]) == CHECKOUT / "data"
    assert places["TUTORIAL_DATA"].startswith("~/")


def test_kubernetes_has_the_limits_of_the_one_server(config):
    values = yaml.safe_load((DEPLOY / "values.yaml").read_text(encoding="utf-8"))
    learner = values["singleuser"]
    assert learner["memory"]["limit"] == config.Spawner.mem_limit
    assert learner["cpu"]["limit"] == config.Spawner.cpu_limit
    assert learner["extraEnv"].keys() == config.Spawner.environment.keys()
    assert values["cull"]["enabled"]
    (culler,) = config.JupyterHub.services
    assert f"--timeout={values['cull']['timeout']}" in culler["command"]


def test_the_culler_has_the_rights_that_it_needs_and_no_more(config):
    (role,) = config.JupyterHub.load_roles
    assert role["services"] == ["idle-culler"] and "delete:servers" in role["scopes"]
    assert not {scope for scope in role["scopes"] if scope.startswith("admin")}
