"""Trained nets on disk: loaded while nothing has changed, made again when anything has."""

import json
import shutil
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from tutorial_lib import notebook
from tutorial_lib.data.cache import damaged_files
from tutorial_lib.training import autoencoder, checkpoints
from tutorial_tools import runner

DATA = tuple(np.random.default_rng(seed).random((8, 28, 28, 1), "float32") for seed in (0, 1))
REAL_SHIPPED = checkpoints.SHIPPED
SETTINGS = SimpleNamespace(epochs=2, batch_size=4, learning_rate=1e-3, seed=0)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTORIAL_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(checkpoints, "SHIPPED", tmp_path / "shipped")
    return tmp_path


@pytest.fixture
def fits():
    """Count the trainings."""
    return []


def trained(fits, settings=SETTINGS, data=DATA, **options):
    def fit(net, train, test, settings):
        fits.append(1)
        return autoencoder.fit(net, train, test, settings)

    return checkpoints.load_or_train(
        "tiny", autoencoder.build_autoencoder, fit, data, settings, **options
    )


def folders(home):
    return sorted((home / "data" / "cache" / "nets").iterdir())


def test_trained_once_then_loaded_bit_for_bit(fits, home):
    first, record = trained(fits)
    second, again = trained(fits)
    assert fits == [1] and record == again and len(folders(home)) == 1
    assert record["epoch"] == [1, 2] and len(record["train"]) == len(record["test"]) == 2
    for old, new in zip(first.get_weights(), second.get_weights(), strict=True):
        assert np.array_equal(old, new)


def test_two_trainings_give_the_same_bits_and_retrain_trains(fits, home):
    first, _ = trained(fits)
    second, _ = trained(fits, retrain=True)
    assert fits == [1, 1] and len(folders(home)) == 1
    for old, new in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(old, new, rtol=1e-5, atol=1e-7)


def test_whatever_decides_the_weights_is_part_of_the_key(fits, home):
    def key(build=autoencoder.build_autoencoder, data=DATA, options=None, **settings):
        settings = SimpleNamespace(**vars(SETTINGS) | settings)
        return checkpoints.made_of(build, autoencoder.fit, data, settings, options or {})

    other = DATA[0].copy()
    other[3, 14, 14, 0] += 1e-3
    keys = [
        key(),
        key(seed=1),
        key(epochs=3),
        key(options={"latent_dim": 3}),
        key(data=(other, DATA[1])),
        key(data=DATA[::-1]),
        key(build=autoencoder.build_denoiser),
        key(build=lambda: keras.Sequential()),
    ]
    assert len(set(keys)) == len(keys) and key() == keys[0]


def test_changed_source_is_another_net(fits, home, monkeypatch):
    trained(fits)
    source = checkpoints.source
    monkeypatch.setattr(checkpoints, "source", lambda function: source(function) + "# better\n")
    trained(fits)
    assert fits == [1, 1] and len(folders(home)) == 2


def test_a_damaged_net_is_trained_again(fits, home):
    trained(fits)
    (folder,) = folders(home)
    (folder / checkpoints.WEIGHTS).write_bytes(b"half of it")
    trained(fits)
    assert fits == [1, 1]


def test_an_interrupted_training_leaves_nothing(home):
    def fit(net, train, test, settings):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoints.load_or_train("tiny", autoencoder.build_autoencoder, fit, DATA, SETTINGS)
    assert folders(home) == []


def test_a_shipped_net_saves_the_training(fits, home):
    trained(fits)
    (folder,) = folders(home)
    (checkpoints.SHIPPED / "tiny-of-yesterday").mkdir(parents=True)
    assert checkpoints.ship("tiny*", home / "data") == [checkpoints.SHIPPED / folder.name]
    assert list(checkpoints.SHIPPED.iterdir()) == [checkpoints.SHIPPED / folder.name]
    shutil.rmtree(folder)
    trained(fits)
    assert fits == [1] and folders(home) == []


def test_the_shipped_nets_are_those_that_notebook_03_asks_for():
    (path,) = runner.find_notebooks(["03"])
    cells = {cell["id"]: cell for cell in json.loads(path.read_text("utf-8"))["cells"]}
    asked = set()

    def note(name, build, fit, data, settings, retrain=False, **options):
        key = checkpoints.made_of(build, fit, data, settings, options)
        asked.add(f"{name}-{key[:12]}")
        return build(**options), {}

    space = {"notebook": notebook}
    for name in ("03-02", "03-05", "03-61", "03-71"):  # parameters, settings, ten digits, denoiser
        exec("".join(cells[name]["source"]), space)
        space["load_or_train"] = note
    assert len(asked) == 5
    present = {folder.name for folder in REAL_SHIPPED.iterdir() if not damaged_files(folder)}
    assert present == asked, "run `tutorial pretrain 03`"


def test_the_learning_rate_reaches_zero_at_the_last_step_whatever_the_epochs():
    for epochs in (1, 3):
        net = autoencoder.build_autoencoder()
        settings = SimpleNamespace(**vars(SETTINGS) | {"epochs": epochs})
        autoencoder.fit(net, *DATA, settings)
        assert float(net.optimizer.learning_rate) == pytest.approx(0, abs=1e-9)


def test_errors_are_those_of_each_picture():
    images = DATA[0]
    assert np.array_equal(autoencoder.errors(lambda x: x, images), np.zeros(8))
    found = autoencoder.errors(lambda x: x + np.float32(0.5), images)
    np.testing.assert_allclose(found, 0.25, rtol=1e-5)
    found = autoencoder.errors(lambda x: x, images, np.zeros_like(images))
    np.testing.assert_allclose(found, np.mean(images**2, axis=(1, 2, 3)), rtol=1e-5)
    assert len(autoencoder.run(lambda x: x, images, batch=3)) == 8
