"""Training that was killed ends with the same bits; several machines compute what one does."""

import json
import os
import signal
import socket
import subprocess
import sys
import textwrap

import numpy as np
import pytest

from tutorial_lib.data import pipeline, records
from tutorial_lib.data.images import Sample
from tutorial_lib.errors import InputError

COMMON = """
import os, sys
from pathlib import Path
from tutorial_lib.training import distributed
from tutorial_lib import notebook
place = distributed.strategy() if "TF_CONFIG" in os.environ else None
if "TWO_DEVICES" in os.environ:  # stand-ins for two GPUs
    import tensorflow as tf
    one = tf.config.LogicalDeviceConfiguration()
    tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [one] * 2)
    place = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
notebook.start("quick", seed=5)
import keras, numpy as np
from tutorial_lib.training import loop, losses
from tutorial_lib.data import pipeline
from tutorial_lib.models import unet

folder = Path(sys.argv[1])

def build(lr=3e-3, **adam):
    keras.utils.set_random_seed(5)
    net = unet.build_unet(44, 3, 4, 1)
    net.compile(keras.optimizers.Adam(lr, **adam), loss=losses.cross_entropy_and_dice)
    return net

def stream(first, end):
    return pipeline.segmentation_batches(
        folder / "records", 44, 28, 4, seed=5, scales=(0.8, 1.2), epochs=(first, end)
    )
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")

    def samples():
        rng = np.random.default_rng(0)
        for number in range(16):
            labels = np.zeros((28, 28), np.uint8)
            top, left = rng.integers(0, 18, 2)
            labels[top : top + 10, left : left + 10] = 1
            labels[: number // 3] = 255  # void of unequal size, which a careless mean would notice
            image = rng.integers(0, 80, (28, 28, 3)) + 120 * (labels == 1)[..., None]
            yield Sample(f"{number}", image.astype(np.uint8), labels)

    records.write_records(samples(), folder / "records", shards=2)
    return folder


def start(folder, source, *arguments, **environment):
    code = COMMON + textwrap.dedent(source)
    return subprocess.Popen(
        [sys.executable, "-c", code, str(folder), *map(str, arguments)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"} | environment,
    )  # fmt: skip


def finish(process, code=0):
    output, errors = process.communicate(timeout=300)
    assert process.returncode == code, errors[-3000:]
    return output


TRAIN = """
import os, signal
checkpoint, fatal, patience = Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])

class Death(keras.callbacks.Callback):
    seen = 0
    def on_train_batch_end(self, batch, logs=None):
        Death.seen += 1
        if Death.seen == fatal:
            os.kill(os.getpid(), signal.SIGKILL)

net = build(1e-2 if patience else 3e-3, use_ema=True, ema_momentum=0.9)
history = loop.train(
    net, stream, epochs=5, steps=4, checkpoint=checkpoint, patience=patience,
    validation=stream(90, 91), callbacks=[Death()],
)
np.savez(checkpoint.with_suffix(".result"), *[np.array(v) for v in net.variables])
import json
print(json.dumps(history))
"""


def weights(path):
    with np.load(path, allow_pickle=False) as file:
        return [file[name].tobytes() for name in sorted(file.files)]


@pytest.mark.slow
@pytest.mark.parametrize("patience", [0, 1])
def test_killed_and_resumed_is_the_same_to_the_bit(folder, tmp_path, patience):
    whole = finish(start(folder, TRAIN, tmp_path / "whole.npz", 0, patience))
    killed = tmp_path / "killed.npz"
    # In the middle of the second epoch, and again in the middle of the one after it.
    for _ in range(2):
        finish(start(folder, TRAIN, killed, 6, patience), -signal.SIGKILL)
        assert killed.is_file() and not list(tmp_path.glob(".*"))
    resumed = finish(start(folder, TRAIN, killed, 0, patience))
    assert json.loads(resumed) == json.loads(whole)
    results = [weights(tmp_path / f"{name}.result.npz") for name in ("whole", "killed")]
    assert results[0] == results[1]
    # Called once more when all is done, it returns the same.
    again = finish(start(folder, TRAIN, killed, 0, patience))
    assert json.loads(again) == json.loads(whole)
    assert weights(tmp_path / "killed.result.npz") == results[0]


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


MACHINES = """
import contextlib
from tutorial_lib.training import distributed
index, count = distributed.share(place) if place else (0, 1)
with place.scope() if place else contextlib.nullcontext():
    net = build()
history = loop.train(
    net, stream, epochs=2, steps=4, strategy=place,
    validation=stream(90, 91) if sys.argv[2] == "validate" else None,
)
print([f"{loss:.5f}" for loss in history["loss"]], sorted(history), f"{index}/{count}")
print(" ".join(f"{float(np.abs(v).sum()):.4f}" for v in net.trainable_variables))
"""


@pytest.mark.slow
def test_two_machines_compute_what_one_does(folder):
    alone = finish(start(folder, SIMPLE + MACHINES, "no")).splitlines()
    addresses = [f"127.0.0.1:{port}" for port in free_ports(2)]
    workers = [
        start(
            folder, SIMPLE + MACHINES, "no",
            TF_CONFIG=json.dumps(
                {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            ),
        )
        for index in range(2)
    ]  # fmt: skip
    outputs = [finish(worker).splitlines() for worker in workers]
    assert outputs[0][0].endswith("0/2") and outputs[1][0].endswith("1/2")
    for lines in outputs:
        assert lines[0].rsplit(" ", 1)[0] == alone[0].rsplit(" ", 1)[0]
        assert np.allclose([*map(float, lines[1].split())], [*map(float, alone[1].split())], 1e-3)


@pytest.mark.slow
def test_two_devices_compute_what_one_does(folder):
    alone = finish(start(folder, SIMPLE + MACHINES, "validate")).splitlines()
    both = finish(start(folder, SIMPLE + MACHINES, "validate", TWO_DEVICES="1")).splitlines()
    assert both[0] == alone[0] and "val_loss" in both[0]
    assert np.allclose([*map(float, both[1].split())], [*map(float, alone[1].split())], 1e-3)


# Cross-entropy is a mean over pixels, so that shares add up to the joint batch exactly.
SIMPLE = """
def build(lr=3e-3):
    keras.utils.set_random_seed(5)
    net = unet.build_unet(44, 3, 4, 1)
    net.compile(keras.optimizers.Adam(lr), loss=losses.binary_cross_entropy)
    return net
"""


@pytest.fixture
def trained(tmp_path):
    import keras

    from tutorial_lib.training.resuming import Progress

    def net(width):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(width)])
        model.compile("adam", "mse")
        return model

    path = tmp_path / "x.npz"
    rng = np.random.default_rng(0)
    data = rng.normal(size=(8, 3)), rng.normal(size=(8, 2))
    net(2).fit(*data, epochs=2, verbose=0, callbacks=[Progress(path)])
    return net, path, Progress


def test_a_damaged_checkpoint_is_one_line(trained):
    net, path, progress = trained
    assert progress(path).restore(net(2)) == 2
    with pytest.raises(InputError, match="belongs to another net"):
        progress(path).restore(net(3))
    whole = path.read_bytes()
    entry = whole.index(b"PK\1\2")  # of the ZIP's directory: flags at 8, compression at 10
    encrypted = whole[: entry + 8] + b"\1" + whole[entry + 9 :]
    compressed = whole[: entry + 10] + b"\6" + whole[entry + 11 :]
    for damaged in (b"no", whole[: len(whole) // 2], b"", encrypted, compressed):
        path.write_bytes(damaged)
        with pytest.raises(InputError, match="is damaged; delete it"):
            progress(path).restore(net(2))
    assert progress(path.with_name("none.npz")).restore(net(2)) == 0


def test_a_checkpoint_that_cannot_be_written_is_one_line_before_training(tmp_path):
    import keras

    from tutorial_lib.training import loop

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    before = model.get_weights()
    batches = [(np.ones((2, 3)), np.ones((2, 1)))] * 4
    (tmp_path / "file").touch()
    for path, message in (
        (tmp_path, "is a folder; choose another checkpoint"),
        (tmp_path / "file" / "x.npz", "cannot write .*; choose another checkpoint"),
    ):
        with pytest.raises(InputError, match=message):
            loop.train(model, lambda a, b: (x for x in batches), epochs=1, steps=4, checkpoint=path)
    assert all(np.array_equal(a, b) for a, b in zip(model.get_weights(), before, strict=True))
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.fixture
def descent(tmp_path):
    """Return a function that trains a net of one weight, from one checkpoint, and that weight.

    Each epoch adds a quarter to the weight; `losses` says what the validation loss then is.
    """
    import keras

    from tutorial_lib.training.resuming import Progress

    def call(epochs, losses=None, patience=0):
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, use_bias=False)])
        model.compile("sgd", "mse")
        model.set_weights([np.zeros((1, 1))])
        progress = Progress(tmp_path / "x.npz", patience)
        progress.set_model(model)
        for epoch in range(progress.restore(model), epochs):
            if progress.exhausted:
                break
            model.set_weights([model.get_weights()[0] + 0.25])
            logs = {"val_loss": losses[epoch]} if losses else {}
            progress.on_epoch_end(epoch, {"loss": -epoch, **logs})
        progress.finish(model)
        return progress.epochs, model.get_weights()[0].item()

    return call


def test_without_patience_the_last_weights_stay(descent):
    losses = [1.0, 2.0, 3.0, 0.5, 4.0]
    assert descent(3, losses, patience=5) == (3, 0.25)  # the best of three
    assert descent(4, losses) == (4, 1.0)
    # The best of three are no longer the best, and nobody kept those of the fourth epoch.
    assert descent(5, losses, patience=5) == (5, 1.25)


def test_patience_counts_the_epochs_that_were_validated(descent):
    assert descent(4)[0] == 4
    assert descent(9, [None] * 4 + [5.0, 4.0, 6.0, 7.0, 8.0], patience=2) == (8, 1.5)


def test_half_precision_trains_and_resumes(folder, tmp_path):
    import keras

    from tutorial_lib.models import unet
    from tutorial_lib.training import loop, losses

    def run(epochs):
        keras.utils.set_random_seed(5)
        keras.mixed_precision.set_global_policy("mixed_float16")
        try:
            net = unet.build_unet(44, 3, 2, 1)
            net.compile(keras.optimizers.Adam(1e-3), loss=losses.cross_entropy_and_dice)
        finally:
            keras.mixed_precision.set_global_policy("float32")
        assert isinstance(net.optimizer, keras.optimizers.LossScaleOptimizer)

        def stream(first, end):
            return pipeline.segmentation_batches(
                folder / "records", 44, 28, 8, seed=5, epochs=(first, end)
            )

        path = tmp_path / f"{epochs[-1]}-{len(epochs)}.npz"
        for end in epochs:
            history = loop.train(net, stream, epochs=end, steps=2, checkpoint=path)
        return history["loss"], [v.numpy() for v in net.weights]

    (whole, first), (parts, second) = run([2]), run([1, 2])
    assert whole == parts and all(np.isfinite(whole))
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_cluster_that_cannot_be_read(monkeypatch):
    from tutorial_lib.training import distributed

    for text in ("no", "{}", "[]"):
        monkeypatch.setenv("TF_CONFIG", text)
        with pytest.raises(InputError, match="TF_CONFIG must be JSON"):
            distributed.strategy()


def test_triples_are_logged_after_each_epoch(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    from tutorial_lib.figures import plotting
    from tutorial_lib.models import unet
    from tutorial_lib.training import losses, tensorboard

    monkeypatch.setenv("TUTORIAL_DATA", str(tmp_path))
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (4, 44, 44, 3)).astype("float32")
    labels = rng.choice([0, 1, 255], (4, 28, 28)).astype("uint8")
    net = unet.build_unet(44, 3, 2, 1)
    net.compile("adam", losses.binary_cross_entropy)
    calls = tensorboard.callbacks("test", images, labels)
    net.fit(images, labels, epochs=2, verbose=0, callbacks=calls, validation_data=(images, labels))
    folder = tmp_path / "cache" / "tensorboard" / "test"
    found = {}
    for part in ("train", "validation", "triples"):
        events = EventAccumulator(str(folder / part), {"images": 0, "tensors": 0})
        found[part] = events.Reload().Tags()
    assert {"keras", "epoch_loss"} <= set(found["train"]["tensors"])  # the first is the graph
    assert "epoch_loss" in found["validation"]["tensors"]
    events = EventAccumulator(str(folder / "triples"), {"tensors": 0}).Reload()
    logged = events.Tensors("input, mask, prediction")
    # Each epoch's entry holds width, height, and all four pictures.
    assert [len(entry.tensor_proto.string_val) for entry in logged] == [6, 6]
    pictures = tensorboard.triples(images, labels, np.ones((4, 28, 28)))
    assert pictures.shape == (4, 28, 84, 3) and pictures.dtype == np.uint8
    middle = np.rint((images[:, 8:36, 8:36] + 1) * 127.5)
    assert np.array_equal(pictures[:, :, :28], middle)
    faded = np.stack([plotting.faded(view) for view in middle])
    assert np.array_equal(pictures[:, :, 28:56][labels == 0], faded[labels == 0])
    assert (pictures[:, :, 28:56][labels == 1] != faded[labels == 1]).any(axis=-1).all()
