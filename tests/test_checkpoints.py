"""Networks on disk: the same bits after an interruption, trained once, one clear line at damage."""

import json
import os
import signal
import subprocess
import sys
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from tutorial_lib import notebook
from tutorial_lib.data import records
from tutorial_lib.data.images import Sample
from tutorial_lib.errors import InputError
from tutorial_lib.models import autoencoder as models
from tutorial_lib.models import unet
from tutorial_lib.training import autoencoder, checkpoints, loop, losses
from tutorial_lib.training.fcn_stages import Stage
from tutorial_tools import runner

DATA = tuple(np.random.default_rng(seed).random((8, 28, 28, 1), "float32") for seed in (0, 1))
REAL_SHIPPED = checkpoints.SHIPPED
SETTINGS = SimpleNamespace(epochs=2, batch_size=4, learning_rate=1e-3, loss="mse", seed=0)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTORIAL_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(checkpoints, "SHIPPED", tmp_path / "shipped")
    return tmp_path


@pytest.fixture
def trainings():
    return []


def trained(trainings, settings=SETTINGS, data=DATA, **options):
    def fit(network, train, test, settings):
        trainings.append(1)
        return autoencoder.train_autoencoder(network, train, test, settings)

    return checkpoints.load_or_train(
        "tiny", models.build_autoencoder, fit, data, settings, **options
    )


def files(home):
    return sorted((home / "data" / checkpoints.CACHED).glob("*"))


def test_trained_once_then_loaded_bit_for_bit(trainings, home, capsys):
    first, history = trained(trainings)
    assert "tiny: no stored network fits" in capsys.readouterr().out
    second, again = trained(trainings)
    assert capsys.readouterr().out == ""
    assert trainings == [1] and history == again and len(files(home)) == 1
    assert len(history["loss"]) == len(history["val_loss"]) == 2
    np.testing.assert_equal(first.get_weights(), second.get_weights())


def test_retrain_trains_to_the_same_weights(trainings, home):
    first, _ = trained(trainings)
    second, _ = trained(trainings, retrain=True)
    assert trainings == [1, 1] and len(files(home)) == 1
    for old, new in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_allclose(old, new, rtol=1e-5, atol=1e-7)


def test_the_fingerprint_depends_on_all_that_decides_the_weights(tmp_path):
    def key(network=None, fit=autoencoder.train_autoencoder, data=DATA, **settings):
        settings = SimpleNamespace(**vars(SETTINGS) | settings)
        network = network or models.build_autoencoder()
        return checkpoints.fingerprint(network, fit, data, settings)

    def fit(network):
        """Train."""
        network.fit()

    def other_fit(network):
        network.fit(epochs=2)

    folders = []
    for value in (0, 1):
        folders.append(tmp_path / str(value))
        image = np.full((4, 4, 3), 9, np.uint8)
        sample = Sample("a", image, np.full((4, 4), value, np.uint8))
        records.write_records([sample], folders[-1])

    changed = DATA[0].copy()
    changed[3, 14, 14, 0] += 1e-3
    keys = [
        key(),
        key(seed=1),
        key(epochs=3),
        key(models.build_autoencoder(latent_dim=3)),
        key(keras.Sequential([keras.layers.GaussianNoise(0.5, name="noise")])),
        key(keras.Sequential([keras.layers.GaussianNoise(0.4, name="noise")])),
        key(data=(changed, DATA[1])),
        key(data=DATA[::-1]),
        key(stages={32: Stage(1, 1, 1e-3)}),
        key(stages={32: Stage(1, 2, 1e-3)}),
        key(data=[folders[0]]),
        key(data=[folders[1]]),
        key(fit=fit),
        key(fit=other_fit),
    ]
    assert len(set(keys)) == len(keys) and key() == keys[0]

    def fit(network):
        # Comments, docstrings and formatting decide nothing.
        network.fit(
        )  # fmt: skip

    assert key(fit=fit) == keys[-2]


def test_a_damaged_network_is_trained_again(trainings, home):
    trained(trainings)
    (path,) = files(home)
    path.write_bytes(path.read_bytes()[:-100])
    trained(trainings)
    assert trainings == [1, 1] and len(files(home)) == 1


def test_an_interrupted_training_leaves_nothing(home):
    def fit(network, train, test, settings):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        checkpoints.load_or_train("tiny", models.build_autoencoder, fit, DATA, SETTINGS)
    assert files(home) == []


def test_a_shipped_network_saves_the_training(trainings, home):
    trained(trainings)
    (path,) = files(home)
    checkpoints.SHIPPED.mkdir()
    (checkpoints.SHIPPED / "tiny-old.npz").touch()
    assert checkpoints.ship("tiny*", home / "data") == [checkpoints.SHIPPED / path.name]
    assert list(checkpoints.SHIPPED.iterdir()) == [checkpoints.SHIPPED / path.name]
    path.unlink()
    trained(trainings)
    assert trainings == [1] and files(home) == []


def test_the_shipped_networks_are_those_that_notebook_03_asks_for():
    (path,) = runner.find_notebooks(["03"])
    cells = {cell["id"]: cell for cell in json.loads(path.read_text("utf-8"))["cells"]}
    asked = set()

    def note(name, build, fit, data, settings, retrain=False, **options):
        network = build(**options)
        key = checkpoints.fingerprint(network, fit, data, settings)
        asked.add(f"{name}-{key[:12]}.npz")
        return network, {}

    space = {"notebook": notebook, "__name__": "__main__"}
    # The weights that the notebook's first network starts from.
    space["start_weights"] = models.build_autoencoder().get_weights()
    # Parameters, imports, settings, digits, and the cells that build or load a network.
    for name in "02 05 05s 07 21d 50n 61 s25 s26 71a v2 v4 83".split():
        exec("".join(cells[f"03-{name}"]["source"]), space)
        space["load_or_train"] = note
        space["ten"] = space["load_digits"]() if "load_digits" in space else None
    assert len(asked) == 15
    shipped_digits = {path.name for path in REAL_SHIPPED.glob("*digits*")}
    assert shipped_digits == asked, "run `tutorial pretrain 03`"
    for shipped in REAL_SHIPPED.iterdir():
        with np.load(shipped, allow_pickle=False) as arrays:
            assert json.loads(arrays["history"].item())


def test_frozen_layers_are_not_stored(home):
    def build():
        return keras.Sequential([keras.Input((3,)), keras.layers.Dense(500), keras.layers.Dense(1)])

    def fit(network, settings):
        network.layers[0].trainable = False
        network.layers[1].set_weights([np.ones((500, 1)), np.ones(1)])
        return {"loss": [1.0]}

    checkpoints.load_or_train("tiny", build, fit, (), SETTINGS)
    (path,) = files(home)
    assert path.stat().st_size < 4000
    network, history = checkpoints.load_or_train("tiny", build, fit, (), SETTINGS)
    assert history == {"loss": [1.0]} and network.layers[1].get_weights()[1] == 1


def test_the_learning_rate_reaches_zero_at_the_last_step_whatever_the_epochs():
    for epochs in (1, 3):
        network = models.build_autoencoder()
        settings = SimpleNamespace(**vars(SETTINGS) | {"epochs": epochs})
        autoencoder.train_autoencoder(network, *DATA, settings)
        assert float(network.optimizer.learning_rate) == pytest.approx(0, abs=1e-9)


TRAIN = """
import json, os, signal, sys
from pathlib import Path
from tutorial_lib import notebook
notebook.start("quick", seed=5)
import keras, numpy as np, tensorflow as tf
from tutorial_lib.training import loop

class Kill(keras.callbacks.Callback):
    batches = 0
    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1
        if self.batches == int(sys.argv[2]):
            os.kill(os.getpid(), signal.SIGKILL)

def stream(first, end):
    def epoch(number):
        rng = np.random.default_rng(number)
        x = rng.normal(size=(16, 5)).astype("float32")
        return tf.data.Dataset.from_tensor_slices((x, x[:, :1] ** 2)).batch(4)
    whole = epoch(first)
    for number in range(first + 1, end):
        whole = whole.concatenate(epoch(number))
    return whole

layers = keras.layers
network = keras.Sequential(
    [keras.Input((5,)), layers.Dense(8), layers.BatchNormalization(), layers.Dropout(0.5),
     layers.Dense(1)]
)
network.compile(keras.optimizers.Adam(1e-2, use_ema=True, ema_momentum=0.9), "mse")
history = loop.train(
    network, stream, epochs=5, steps=4, validation=stream(90, 91), callbacks=[Kill()],
    checkpoint=Path(sys.argv[1]),
)
print(json.dumps([history, [v.numpy().tobytes().hex() for v in network.variables]]))
"""


@pytest.mark.slow
def test_killed_and_resumed_is_the_same_to_the_bit(tmp_path):
    def run(path, fatal, code):
        command = [sys.executable, "-c", TRAIN, str(path), str(fatal)]
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "-1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == code, done.stderr[-3000:]
        return done.stdout and json.loads(done.stdout)

    whole = run(tmp_path / "whole.keras", 0, 0)
    killed = tmp_path / "killed.keras"
    # In the middle of the second epoch, and again in the middle of the one after it.
    for _ in range(2):
        run(killed, 6, -signal.SIGKILL)
        assert [path.name for path in tmp_path.glob("*killed*")] == ["killed.keras"]
    assert run(killed, 0, 0) == whole
    assert run(killed, 0, 0) == whole  # once more when all is done


def small_network(width=1, optimizer="adam"):
    network = keras.Sequential([keras.Input((3,)), keras.layers.Dense(width)])
    network.compile(optimizer, "mse")
    return network


def test_a_checkpoint_that_does_not_fit_is_one_line(tmp_path):
    path = tmp_path / "x.keras"
    data = tf.data.Dataset.from_tensors((np.ones((2, 3)), np.ones((2, 1))))

    def train(network, epochs=2):
        stream = lambda first, end: data.repeat()  # noqa: E731
        return loop.train(network, stream, epochs=epochs, steps=1, checkpoint=path)["loss"]

    assert len(train(small_network())) == 2
    for other in (small_network(2), small_network(optimizer="sgd")):
        with pytest.raises(InputError, match="belongs to another network or optimizer"):
            train(other)
    whole = path.read_bytes()
    entry = whole.index(b"PK\1\2")  # of the ZIP's directory: flags at 8, compression at 10
    encrypted = whole[: entry + 8] + b"\1" + whole[entry + 9 :]
    compressed = whole[: entry + 10] + b"\6" + whole[entry + 11 :]
    changed = whole[: entry // 2] + b"xxxx" + whole[entry // 2 + 4 :]
    for damaged in (b"no", whole[: len(whole) // 2], b"", encrypted, compressed, changed):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="is damaged, or this tutorial did not save it"):
            train(small_network())
    path.unlink()
    assert len(train(small_network(), epochs=1)) == 1


def test_a_checkpoint_that_cannot_be_written_is_one_line_before_training(tmp_path):
    network = small_network()
    before = network.get_weights()
    data = tf.data.Dataset.from_tensors((np.ones((2, 3)), np.ones((2, 1))))
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot write .*x.keras"):
        loop.train(
            network, lambda a, b: data, epochs=1, steps=1,
            checkpoint=tmp_path / "file" / "x.keras",
        )  # fmt: skip
    np.testing.assert_equal(network.get_weights(), before)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_half_precision_trains_and_resumes(tmp_path):
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (4, 44, 44, 3)).astype("float32")
    labels = rng.choice([0, 1, 255], (4, 28, 28)).astype("uint8")
    data = tf.data.Dataset.from_tensor_slices((images, labels)).batch(2)

    def run(name, *ends):
        keras.utils.set_random_seed(5)
        keras.mixed_precision.set_global_policy("mixed_float16")
        try:
            network = unet.build_unet(44, 3, 2, 1)
            network.compile(keras.optimizers.Adam(1e-3), loss=losses.cross_entropy_and_dice)
        finally:
            keras.mixed_precision.set_global_policy("float32")
        assert isinstance(network.optimizer, keras.optimizers.LossScaleOptimizer)
        for end in ends:
            history = loop.train(
                network, lambda a, b: data.repeat(b - a), epochs=end, steps=2,
                checkpoint=tmp_path / name,
            )  # fmt: skip
        return history["loss"], network.get_weights()

    (whole, first), (parts, second) = run("a.keras", 2), run("b.keras", 1, 2)
    assert whole == parts and all(np.isfinite(whole))
    np.testing.assert_equal(first, second)
