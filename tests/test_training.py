"""Training: losses refuse wrong labels, several devices and machines compute what one does."""

import json
import os
import socket
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from tutorial_lib import CHECKOUT
from tutorial_lib.errors import InputError
from tutorial_lib.figures import plotting
from tutorial_lib.models import unet
from tutorial_lib.training import loop, losses, tensorboard

LOSSES = {
    losses.pixel_cross_entropy: 3,
    losses.binary_cross_entropy: 1,
    losses.dice_loss: 1,
    losses.cross_entropy_and_dice: 1,
    losses.balanced_binary_cross_entropy: 1,
}


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.__name__)
@pytest.mark.parametrize("wrong", [3, 254])
def test_a_label_that_is_no_class_never_counts(loss, wrong):
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 255], (2, 4, 5)).astype("uint8")
    logits = rng.normal(size=(2, 4, 5, LOSSES[loss])).astype("float32")
    assert np.isfinite(loss(labels, logits)) and np.isfinite(tf.function(loss)(labels, logits))
    labels[1, 2, 3] = wrong
    with pytest.raises(InputError, match=rf"or 255 for void; found \[{wrong}\]"):
        loss(labels, logits)
    assert np.isnan(tf.function(loss)(labels, logits))


def test_training_on_a_label_that_is_no_class_ends_with_one_line():
    images, labels = np.zeros((2, 4, 4, 3), "float32"), np.full((2, 4, 4), 21, "uint8")
    data = tf.data.Dataset.from_tensors((images, labels))
    network = keras.Sequential([keras.Input((4, 4, 3)), keras.layers.Conv2D(21, 1)])
    network.compile("sgd", losses.pixel_cross_entropy)
    with pytest.raises(InputError, match="loss is nan: a label is neither a class nor 255"):
        loop.train(network, lambda first, end: data, epochs=1, steps=1)


def test_void_alone_costs_nothing():
    labels = np.full((1, 2, 2), 255, np.uint8)
    for loss, channels in LOSSES.items():
        assert loss(labels, np.ones((1, 2, 2, channels), "float32")) == 0


# Labels hold void of unequal size, which a mean over devices would weigh wrongly.
COMMON = """
import json, os, sys
import keras, numpy as np, tensorflow as tf
from tutorial_lib.training import loop, losses
from tutorial_lib.models import unet

rng = np.random.default_rng(0)
images = rng.uniform(-1, 1, (16, 44, 44, 3)).astype("float32")
labels = (images[:, 8:36, 8:36, 0] > 0).astype("uint8")
for number in range(16):
    labels[number, : number * int(sys.argv[1])] = 255

def stream(first, end, size=4):
    return tf.data.Dataset.from_tensor_slices((images, labels)).repeat(end - first).batch(size)

def build():
    keras.utils.set_random_seed(5)
    network = unet.build_unet(44, 3, 4, 1)
    network.compile(keras.optimizers.Adam(3e-3), loss=losses.binary_cross_entropy)
    return network

def tell(network, history):
    print(json.dumps([history, [float(np.abs(v).sum()) for v in network.trainable_variables]]))
"""
ALONE = "\nnetwork = build()\ntell(network, loop.train(network, stream, epochs=2, steps=4)['loss'])"
WORKER = """
from train_on_workers import train_on_workers

tell(*train_on_workers(build, lambda a, b: stream(a, b, 2), epochs=2, steps=4))
"""
TWO_DEVICES = """
one = tf.config.LogicalDeviceConfiguration()  # stand-ins for two GPUs
tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], [one] * 2)
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    network = build()
tell(network, loop.train(network, stream, epochs=2, steps=4)["loss"])
"""


def start(source, void=1, **environment):
    return subprocess.Popen(
        [sys.executable, "-c", COMMON + source, str(void)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"CUDA_VISIBLE_DEVICES": "-1"} | environment, cwd=CHECKOUT / "docs",
    )  # fmt: skip


def result(process):
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-3000:]
    return np.concatenate(json.loads(output))


@pytest.mark.slow
def test_two_machines_compute_what_one_does():
    with socket.socket() as one, socket.socket() as two:
        for s in (one, two):
            s.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in (one, two)]
    workers = [
        start(
            WORKER,
            TF_CONFIG=json.dumps(
                {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
            ),
        )
        for index in range(2)
    ]
    found = [result(worker) for worker in workers]
    alone = result(start(ALONE))
    for values in found:
        np.testing.assert_allclose(values, alone, rtol=1e-3)


@pytest.mark.slow
def test_two_devices_compute_what_one_does():
    np.testing.assert_allclose(
        result(start(TWO_DEVICES, void=0)), result(start(ALONE, void=0)), rtol=0.02
    )


def test_triples_are_logged_after_each_epoch(tmp_path, monkeypatch):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    monkeypatch.setenv("TUTORIAL_DATA", str(tmp_path))
    rng = np.random.default_rng(0)
    images = rng.uniform(-1, 1, (4, 44, 44, 3)).astype("float32")
    labels = rng.choice([0, 1, 255], (4, 28, 28)).astype("uint8")
    network = unet.build_unet(44, 3, 2, 1)
    network.compile("adam", losses.binary_cross_entropy)
    calls = tensorboard.callbacks("test", images, labels)
    network.fit(
        images, labels, epochs=2, verbose=0, callbacks=calls, validation_data=(images, labels)
    )
    folder = tmp_path / "cache" / "tensorboard" / "test"
    found = {}
    for part in ("train", "validation", "triples"):
        events = EventAccumulator(str(folder / part), {"images": 0, "tensors": 0})
        found[part] = events.Reload().Tags()
    assert "epoch_loss" in found["train"]["tensors"] and found["triples"]["graph"]
    assert "epoch_loss" in found["validation"]["tensors"]
    events = EventAccumulator(str(folder / "triples"), {"tensors": 0}).Reload()
    logged = events.Tensors("input, mask, prediction")
    # Each epoch's entry holds width, height, and all four images.
    assert [len(entry.tensor_proto.string_val) for entry in logged] == [6, 6]
    shown = tensorboard.triples(images, labels, np.ones((4, 28, 28)))
    assert shown.shape == (4, 28, 84, 3) and shown.dtype == np.uint8
    middle = np.rint((images[:, 8:36, 8:36] + 1) * 127.5)
    assert np.array_equal(shown[:, :, :28], middle)
    faded = np.stack([plotting.faded(view) for view in middle])
    assert np.array_equal(shown[:, :, 28:56][labels == 0], faded[labels == 0])
    assert (shown[:, :, 28:56][labels == 1] != faded[labels == 1]).any(axis=-1).all()
