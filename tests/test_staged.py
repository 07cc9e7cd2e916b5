"""Training in stages: what learns when, schedules, resuming, scoring."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tutorial_lib.data import records
from tutorial_lib.data.images import Sample
from tutorial_lib.errors import InputError
from tutorial_lib.models import backbones, fcn, vgg
from tutorial_lib.training import fcn_stages


@pytest.fixture
def net():
    keras.utils.set_random_seed(0)
    body = vgg.build_vgg(16, width=1 / 16, input_size=64, classes=4, fc_units=8, dropout=0.0)
    return fcn.build_fcn(body, 16, classes=3)


def batches_of(epoch):
    rng = np.random.default_rng(epoch)
    images = rng.uniform(-1, 1, (6, 64, 64, 3)).astype("float32")
    labels = (images[..., 0] > 0).astype("uint8")
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(2)


def names(net):
    return {layer.name for layer in net.layers if layer.trainable_weights}


def test_batch_normalizations_of_a_backbone_stay_as_they_are():
    body = backbones.load_backbone("mobilenet", weights=None, alpha=0.25)
    net = fcn.build_fcn(body, 32, classes=3)
    fcn_stages.choose_part(net, "all")
    assert {"conv1", "score_fc7"} <= names(net) and not any(n.endswith("_bn") for n in names(net))


def test_what_learns(net):
    fcn_stages.choose_part(net, "scores")
    assert names(net) == {"score_fc7", "score_pool4"}
    fcn_stages.choose_part(net, "late")
    assert "conv3_1" in names(net) and not names(net) & {"conv1_1", "conv1_2", "conv2_2"}
    fcn_stages.choose_part(net, "all")
    assert {"conv1_1", "fc7"} <= names(net)
    with pytest.raises(InputError, match="part='head' is not known; choose one of scores"):
        fcn_stages.choose_part(net, "head")


def test_a_stage_trains_the_scores_first_and_the_early_blocks_never(net):
    before = {layer.name: layer.get_weights() for layer in net.layers}
    stage = fcn_stages.Stage(warmup=1, epochs=0, rate=1e-3)
    history = fcn_stages.train_stage(net, batches_of, stage, validation=batches_of(9))
    assert len(history["loss"]) == len(history["val_loss"]) == 1

    def moved():
        return {
            layer.name
            for layer in net.layers
            if any(
                np.any(a != b) for a, b in zip(layer.get_weights(), before[layer.name], strict=True)
            )
        }

    assert moved() == {"score_fc7", "score_pool4"}
    history = fcn_stages.train_stage(net, batches_of, fcn_stages.Stage(1, 2, 1e-3))
    assert len(history["loss"]) == 3
    assert "conv5_3" in moved() and not any(n.startswith(("conv1", "conv2")) for n in moved())


@pytest.mark.parametrize("optimizer", fcn_stages.OPTIMIZERS)
def test_schedules_fall_to_zero(optimizer):
    for schedule in fcn_stages.SCHEDULES:
        made = fcn_stages.make_optimizer(optimizer, 0.1, 100, schedule)
        rates = [float(made._learning_rate(step)) for step in (0, 50, 100)]
        assert np.isclose(rates[0], 0.1) and 0.04 < rates[1] < 0.06 and np.isclose(rates[2], 0)
    assert fcn_stages.make_optimizer("sgd", 0.1, 10).momentum == 0.9
    assert fcn_stages.make_optimizer(optimizer, 0.1, 10, decay=0.05).weight_decay == 0.05
    for wrong in ({"name": "lamb"}, {"schedule": "step"}):
        with pytest.raises(InputError, match="is not known"):
            fcn_stages.make_optimizer(**{"name": "adam", "rate": 1, "steps": 1, **wrong})


def test_a_stage_that_was_interrupted_ends_as_one_that_was_not(tmp_path):
    def fresh():
        keras.utils.set_random_seed(1)
        body = vgg.build_vgg(16, width=1 / 16, input_size=64, classes=4, fc_units=8, dropout=0.0)
        return fcn.build_fcn(body, 32, classes=3)

    stage = fcn_stages.Stage(warmup=1, epochs=2, rate=1e-3)
    whole, again = fresh(), fresh()
    history = fcn_stages.train_stage(whole, batches_of, stage)

    def interrupted(epoch):
        if epoch == 2:
            raise KeyboardInterrupt
        return batches_of(epoch)

    shorter = fcn_stages.Stage(warmup=1, epochs=0, rate=1e-3)
    fcn_stages.train_stage(fresh(), batches_of, shorter, state=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        fcn_stages.train_stage(fresh(), interrupted, stage, state=tmp_path)
    assert fcn_stages.train_stage(again, batches_of, stage, state=tmp_path) == history
    for ours, theirs in zip(again.get_weights(), whole.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_scoring_whole_pictures_and_bands():
    labels = np.zeros((40, 50), np.uint8)
    labels[:, 25:] = 1
    image = np.zeros((40, 50, 3), np.uint8)
    image[:, 27:, 1] = 255  # the net will be two columns off
    sample = Sample("a", image, labels)

    def net(x):
        return np.stack([-x[..., 1], x[..., 1]], axis=-1)

    whole = fcn_stages.evaluate(net, [sample], classes=2)
    assert whole.counts.tolist() == [[1000, 0], [80, 920]]
    band = fcn_stages.evaluate(net, [sample], classes=2, band=4)
    assert band.counts.tolist() == [[200, 0], [80, 120]]
    perfect = fcn_stages.evaluate(
        net, [sample], classes=2, refine=lambda scores, image: np.eye(2)[labels]
    )
    assert perfect.mean_iou() == 1


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
