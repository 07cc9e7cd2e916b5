"""Training in stages: which layers when, schedules, evaluation."""

import keras
import numpy as np
import pytest

from tutorial_lib.data import records
from tutorial_lib.data.images import Sample
from tutorial_lib.errors import InputError
from tutorial_lib.models import backbones, fcn, vgg
from tutorial_lib.training import fcn_stages


@pytest.fixture
def network():
    keras.utils.set_random_seed(0)
    backbone = vgg.build_vgg(16, width=1 / 16, input_size=64, classes=4, fc_units=8, dropout=0.0)
    return fcn.build_fcn(backbone, 16, classes=3)


def names(network):
    return {layer.name for layer in network.layers if layer.trainable_weights}


def test_batch_normalizations_of_a_backbone_stay_as_they_are():
    backbone = backbones.load_backbone("mobilenet", weights=None, alpha=0.25)
    network = fcn.build_fcn(backbone, 32, classes=3)
    fcn_stages.set_trainable(network, "all")
    assert {"conv1", "score_fc7"} <= names(network) and not any(
        n.endswith("_bn") for n in names(network)
    )


def test_which_layers_are_trained(network):
    fcn_stages.set_trainable(network, "scores")
    assert names(network) == {"score_fc7", "score_pool4"}
    fcn_stages.set_trainable(network, "late")
    assert "conv3_1" in names(network) and not names(network) & {"conv1_1", "conv1_2", "conv2_2"}
    fcn_stages.set_trainable(network, "all")
    assert {"conv1_1", "fc7"} <= names(network)
    with pytest.raises(InputError, match="layers='head' is not known; choose one of scores"):
        fcn_stages.set_trainable(network, "head")


def test_evaluation_of_whole_images_and_bands():
    labels = np.zeros((40, 50), np.uint8)
    labels[:, 25:] = 1
    image = np.zeros((40, 50, 3), np.uint8)
    image[:, 27:, 1] = 255  # the network will be two columns off
    sample = Sample("a", image, labels)

    def network(x):
        return np.stack([-x[..., 1], x[..., 1]], axis=-1)

    bands = fcn_stages.evaluate_bands(network, [sample], (0, 4))
    whole, band = bands[0], bands[4]
    assert whole.counts[:2, :2].tolist() == [[1000, 0], [80, 920]]
    assert band.counts[:2, :2].tolist() == [[200, 0], [80, 120]]


def test_validation_crops_are_the_middle_and_void_outside():
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    image = np.full((3, 4, 3), 255, np.uint8)
    ((images, cut),) = fcn_stages.center_crops([Sample("a", image, labels)], 2)
    assert cut.numpy().tolist() == [[[1, 2], [5, 6]]] and (images.numpy() == 1).all()
    ((images, cut),) = fcn_stages.center_crops([Sample("a", image, labels)], 6)
    assert cut.shape == (1, 6, 6) and np.sum(cut.numpy() != 255) == 12
    assert cut.numpy()[0, 1, 1] == 0 and images.numpy()[0, 0, 0, 0] == 0


def test_crops_are_scaled_within_bounds_and_void_outside(tmp_path):
    image = np.full((40, 40, 3), 255, np.uint8)
    labels = np.full((40, 40), 8, np.uint8)
    records.write_records([Sample(str(n), image, labels) for n in range(12)], tmp_path)
    settings = {"crop": 40, "batch_size": 12, "scales": (0.5, 2.0)}
    ((_, first),) = fcn_stages.batches_from(tmp_path, settings, 0, 8)(0)
    shares = np.mean(first.numpy() == 8, axis=(1, 2))
    assert set(np.unique(first)) == {8, 255} and first.shape == (12, 40, 40)
    assert 0.24 <= shares.min() < 0.6 and shares.max() == 1
    balanced = settings | {"rarity": 0.5, "thinning": 0.5}
    ((_, again),) = fcn_stages.batches_from(tmp_path, balanced, 0, 8)(0)
    assert sorted(np.mean(again.numpy() == 8, axis=(1, 2))) == sorted(shares)  # all alike, no 0
    ((_, again),) = fcn_stages.batches_from(tmp_path, settings, 0, 8)(0)
    ((_, other),) = fcn_stages.batches_from(tmp_path, settings, 0, 8)(1)
    assert np.array_equal(first, again) and not np.array_equal(first, other)
