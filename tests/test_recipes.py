"""VGG-16 and VGG-19 from files as keras.applications publishes them, and the papers' recipes."""

from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest
from helpers import REAL, needs_real_data

from tutorial_lib.data import voc
from tutorial_lib.errors import InputError
from tutorial_lib.models import backbones, fcn, vgg
from tutorial_lib.training import recipes


def publish(path, depth, filters=8, units=16, classes=10, side=7):
    """Write random weights in the format and with the names of keras.applications."""
    rng = np.random.default_rng(depth)
    widths = [filters * factor for factor in (1, 2, 4, 8, 8)]
    shapes, channels = [("input_1", None)], 3
    for block, (count, width) in enumerate(zip(vgg.BLOCKS[depth], widths, strict=True), 1):
        for number in range(1, count + 1):
            shapes.append((f"block{block}_conv{number}", (3, 3, channels, width)))
            channels = width
        shapes.append((f"block{block}_pool", None))
    shapes += [("flatten", None), ("fc1", (side * side * channels, units))]
    shapes += [("fc2", (units, units)), ("predictions", (units, classes))]
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name, _ in shapes]
        for name, shape in shapes:
            group, names = file.create_group(name), []
            if shape:
                scale = np.sqrt(2 / np.prod(shape[:-1]))
                kernel = rng.standard_normal(shape, dtype="float32") * np.float32(scale)
                arrays = {"W": kernel, "b": rng.normal(0, 0.1, shape[-1]).astype("float32")}
                for kind, array in arrays.items():
                    names.append(f"{name}_{kind}_1:0".encode())
                    group[names[-1]] = array
            group.attrs["weight_names"] = names
    return path


def reference(path, depth, image, classes=10):
    """Return the logits for an RGB image of 0 to 255, computed as keras.applications does."""
    build = {16: keras.applications.VGG16, 19: keras.applications.VGG19}[depth]
    x = image[..., ::-1] - np.float32([104.00699, 116.66877, 122.67892])
    with h5py.File(path) as file:
        for layer in build(weights=None, classes=classes).layers:
            if not layer.weights:
                if "pool" in layer.name:
                    x = keras.ops.max_pool(x, 2)
                continue
            kernel, bias = (file[layer.name][f"{layer.name}_{kind}_1:0"][()] for kind in "Wb")
            if kernel.ndim == 4:
                x = keras.ops.relu(keras.ops.conv(x, kernel, padding="same") + bias)
            else:
                x = keras.ops.matmul(keras.ops.reshape(x, (len(x), -1)), kernel) + bias
                x = x if layer.name == "predictions" else keras.ops.relu(x)
    return np.asarray(x)


@pytest.mark.parametrize("depth", [16, 19])
def test_a_published_vgg_is_convolutionalized(tmp_path, depth):
    path = publish(tmp_path / "vgg.h5", depth)
    classifier = backbones.load_backbone(f"vgg{depth}", path)
    image = np.random.default_rng(0).uniform(0, 255, (1, 224, 224, 3)).astype("float32")
    scores = np.asarray(classifier(image / 127.5 - 1))
    scale = np.abs(scores).max()
    np.testing.assert_allclose(scores, reference(path, depth, image), atol=1e-4 * scale)
    everywhere = fcn.convolutionalize(classifier)
    np.testing.assert_allclose(everywhere(image / 127.5 - 1)[:, 0, 0], scores, atol=1e-4 * scale)
    assert everywhere(np.zeros((1, 320, 288, 3))).shape == (1, 4, 3, 10)


def test_other_files_are_refused(tmp_path):
    path = publish(tmp_path / "vgg.h5", 16)
    with pytest.raises(InputError, match="does not fit VGG-19"):
        backbones.load_backbone("vgg19", path)
    path.write_bytes(b"no weights")
    with pytest.raises(InputError, match="does not fit VGG-16"):
        backbones.load_backbone("vgg16", path)
    with pytest.raises(InputError, match=r"none.h5 is missing: the ImageNet weights of VGG-16"):
        backbones.load_backbone("vgg16", tmp_path / "none.h5")


def test_momentum_decay_and_the_rate_of_biases_are_caffes():
    kernel, bias = keras.Variable([[2.0]]), keras.Variable([2.0])
    optimizer = recipes.CaffeSGD(0.1, 0.9, decay=0.5)
    optimizer.build([kernel, bias])
    w, b, speed = 2.0, 2.0, [0.0, 0.0]
    for _ in range(3):
        optimizer.apply([keras.ops.ones((1, 1)), keras.ops.ones(1)])
        speed = [0.9 * speed[0] - 0.1 * (1 + 0.5 * w), 0.9 * speed[1] - 0.2]
        w, b = w + speed[0], b + speed[1]
    np.testing.assert_allclose([float(kernel[0, 0]), float(bias[0])], [w, b], rtol=1e-6)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTORIAL_DATA", str(tmp_path / "home"))
    return tmp_path


@pytest.fixture
def tree():
    return voc.VocTree(REAL / "VOCdevkit")


@needs_real_data
@pytest.mark.parametrize("name", recipes.RECIPES)
def test_every_recipe_takes_two_steps(home, tree, name, capsys):
    depth = 19 if name == "cnn-tutorials" else 16
    backbone = backbones.load_backbone(f"vgg{depth}", publish(home / "vgg.h5", depth))
    batch = min(recipes.RECIPES[name].batch_size, 2)
    networks, curves = recipes.train_recipe(
        name, backbone, tree, limit=3, batch_size=batch, steps=2, crop=128
    )
    assert list(networks) == list(curves) == [32, 16, 8]
    assert all(np.isfinite(curve["loss"]).all() for curve in curves.values())
    moved = networks[32].get_layer("score_fc7").kernel
    assert np.abs(moved).max() > 0
    fc7 = [network.get_layer("fc7").kernel for network in (networks[8], backbone)]
    frozen = np.array_equal(fc7[0][0, 0], fc7[1])
    assert frozen == (name == "two-class")
    matrices = recipes.report_recipe(name, networks, tree, limit=1)
    printed = capsys.readouterr().out
    assert printed.startswith("val ") and printed.count("FCN-") == 3
    assert ("published" in printed) == (name in recipes.PUBLISHED)
    if name == "two-class":
        assert not np.delete(matrices[8].counts, [0, 8], axis=1).any()


class Killed(Exception):
    """Stands for a process that is killed."""


@needs_real_data
def test_a_recipe_goes_on_after_a_kill_with_the_same_bits(home, tree, monkeypatch):
    backbone = backbones.load_backbone("vgg16", publish(home / "vgg.h5", 16))
    options = {"limit": 3, "steps": 3, "snapshot": 1, "crop": 64}
    # Rates at which every step moves the weights by more than rounding.
    rates = dict.fromkeys((32, 16, 8), 1e-6)
    known = replace(recipes.RECIPES["paper"], rates=rates)
    monkeypatch.setitem(recipes.RECIPES, "paper", known)
    straight, curves = recipes.train_recipe("paper", backbone, tree, **options)
    monkeypatch.setenv("TUTORIAL_DATA", str(home / "again"))
    save = recipes.loop.EpochCheckpoint.on_epoch_end
    calls = []

    def on_epoch_end(self, epoch, logs=None):
        save(self, epoch, logs)
        calls.append(epoch)
        if len(calls) == 5:  # in the second epoch of FCN-16s
            raise Killed

    with monkeypatch.context() as context:
        context.setattr(recipes.loop.EpochCheckpoint, "on_epoch_end", on_epoch_end)
        with pytest.raises(Killed):
            recipes.train_recipe("paper", backbone, tree, **options)
    resumed, again = recipes.train_recipe("paper", backbone, tree, **options)
    assert again == curves
    for stride, network in straight.items():
        np.testing.assert_equal(network.get_weights(), resumed[stride].get_weights())
