"""U-Net: counted by hand, equal in tiles and as a whole; its losses, weights and thresholds."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from helpers import valid_input_sizes
from scipy import ndimage
from skimage import data as photographs

from tutorial_lib import metrics
from tutorial_lib.data import records
from tutorial_lib.data.images import Sample
from tutorial_lib.errors import InputError
from tutorial_lib.inference import overlap_tile, predict_any_size
from tutorial_lib.metrics import ConfusionMatrix
from tutorial_lib.models import unet
from tutorial_lib.models.pretrained_unet import build_pretrained_unet
from tutorial_lib.training import loop, losses, tensorboard, transfer


def test_the_five_blocks_have_the_papers_shapes():
    x = keras.Input((572, 572, 1))
    down = unet.double_convolution(x, 64, "a")
    assert down.shape[1:] == (568, 568, 64)
    up = unet.up_convolution(keras.Input((28, 28, 1024)), 512, "c")
    assert up.shape[1:] == (56, 56, 512)
    joined = unet.copy_and_crop(keras.Input((64, 64, 512)), up, "d")
    assert joined.shape[1:] == (56, 56, 1024)
    assert unet.output_convolution(joined, 2, "e").shape[1:] == (56, 56, 2)


@pytest.fixture(scope="module", params=[(68, 2), (116, 3)])
def nets(request):
    """A network for tiles, and the same weights for a larger, oblong image."""
    size, depth = request.param
    keras.utils.set_random_seed(1)
    small = unet.build_unet(size, 3, 4, depth, 2)
    for weight in small.weights:  # biases start at zero, where an error could hide
        weight.assign(weight + 0.05 * np.random.default_rng(0).normal(size=weight.shape))
    border = size - unet.valid_output_size(size, depth)
    sides = [
        next(size for size in valid_input_sizes(depth, 999) if size >= least)
        for least in (border + 70, border + 100)
    ]
    large = unet.build_unet(tuple(sides), 3, 4, depth, 2)
    large.set_weights(small.get_weights())
    return small, large, border


def test_tiles_equal_the_whole_picture(nets):
    small, large, border = nets
    height, width = large.output_shape[1:3]
    image = np.random.default_rng(0).uniform(-1, 1, (height, width, 3)).astype(np.float32)
    half = border // 2
    whole = large(np.pad(image, ((half, half), (half, half), (0, 0)), mode="reflect")[None])[0]
    tiles = overlap_tile(small, image)
    np.testing.assert_allclose(tiles, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (37, 91)])
def test_tiles_of_any_size(nets, size):
    image = np.zeros((*size, 3), np.float32)
    assert overlap_tile(nets[0], image).shape == (*size, 2)


def test_pictures_that_do_not_fit_are_refused(nets):
    for shape in ((5, 5), (5, 5, 1), (0, 5, 3)):
        with pytest.raises(InputError, match="expected an image"):
            overlap_tile(nets[0], np.zeros(shape, np.float32))
    with pytest.raises(InputError, match="holds no whole block of 8"):
        tiny = unet.build_unet(valid_input_sizes(3, 200)[0], 3, 2, 3)
        overlap_tile(tiny, np.zeros((5, 5, 3), np.float32))


def test_half_precision_computes_and_ends_in_full():
    keras.mixed_precision.set_global_policy("mixed_float16")
    try:
        net = unet.build_unet(68, 3, 4, 2)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    assert net.get_layer("down1_conv1").compute_dtype == "float16"
    assert net(np.zeros((1, 68, 68, 3))).dtype == "float32"
    assert all(weight.dtype == "float32" for weight in net.weights)


@pytest.fixture
def example():
    rng = np.random.default_rng(0)
    labels = rng.choice([0, 1, 255], (2, 6, 7)).astype(np.uint8)
    return labels, rng.normal(size=(2, 6, 7, 1)).astype(np.float32)


def test_dice_by_hand(example):
    labels, logits = example
    p = 1 / (1 + np.exp(-logits[..., 0].astype(float)))
    seen, truth = labels != 255, labels == 1
    expected = 1 - (2 * p[truth].sum() + 1) / (p[seen].sum() + truth.sum() + 1)
    assert np.isclose(losses.dice_loss(labels, logits), expected, rtol=1e-5)
    sure = np.where(truth, 40.0, -40.0)[..., None]
    assert np.isclose(losses.dice_loss(labels, sure), 0, atol=1e-6)
    assert np.isclose(losses.dice_loss(np.zeros_like(labels), sure * 0 - 40), 0)
    both = losses.cross_entropy_and_dice(labels, logits)
    assert np.isclose(both, expected + losses.binary_cross_entropy(labels, logits), rtol=1e-5)


def test_weighted_cross_entropy(example):
    labels, logits = example
    plain = losses.binary_cross_entropy(labels, logits)
    ones = np.ones(labels.shape)
    assert np.isclose(losses.binary_cross_entropy(labels, logits, ones), plain)
    assert losses.binary_cross_entropy(labels, logits, 0 * ones) == 0
    weights = np.stack([losses.class_weights(label) for label in labels])
    assert np.allclose(
        [w[label != 255].mean() for w, label in zip(weights, labels, strict=True)], 1
    )
    assert (weights[labels == 255] == 0).all()
    halves = [losses.binary_cross_entropy(labels, logits, labels == value) for value in (0, 1)]
    assert np.isclose(losses.balanced_binary_cross_entropy(labels, logits), np.mean(halves))


def test_border_weights_by_the_formula():
    labels = np.zeros((20, 30), np.uint8)
    labels[5:15, 3:12], labels[5:15, 16:25] = 1, 1
    labels[0] = 255
    weights = losses.border_weights(labels, strength=10, sigma=5)
    middle = weights[10, 13]  # 2 pixels from the left object, 3 from the right one
    base = losses.class_weights(labels)
    assert np.isclose(middle, base[10, 13] + 10 * np.exp(-((2 + 3) ** 2) / 50), rtol=1e-5)
    assert weights[10, 13] > weights[10, 28] and (weights[0] == 0).all()
    assert np.array_equal(weights[labels == 1], base[labels == 1])
    gap = ndimage.distance_transform_edt(labels != 1)
    assert weights[gap == 2].max() > weights[gap == 5].max()
    labels[:, 14:] = 0
    assert np.array_equal(losses.border_weights(labels), losses.class_weights(labels))
    with pytest.raises(InputError, match="sigma=0"):
        losses.border_weights(labels, sigma=0)


def test_a_net_trains_on_border_weights():
    labels = np.zeros((4, 20, 20), np.uint8)
    labels[:, 5:15, 2:8], labels[:, 5:15, 11:17] = 1, 1
    pictures = np.repeat(labels[..., None] / np.float32(2), 3, axis=-1)
    batches = tf.data.Dataset.from_tensor_slices((pictures, labels)).batch(2)
    net = keras.Sequential([keras.Input((20, 20, 3)), keras.layers.Conv2D(1, 1)])
    net.compile("adam", loss=losses.border_weighted_cross_entropy)
    weights = np.stack([losses.border_weights(label) for label in labels])
    expected = losses.binary_cross_entropy(labels, net(pictures), weights)
    history = loop.train(
        net,
        lambda first, end: losses.with_border_weights(batches).repeat(end - first),
        epochs=2,
        steps=2,
    )
    assert history["loss"][1] < history["loss"][0]
    assert np.isclose(history["loss"][0], expected, rtol=0.01)


@pytest.mark.parametrize("watched", [True, False])
def test_training_shows_its_progress_to_those_who_watch(watched, monkeypatch, capsys):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    if watched:
        monkeypatch.setenv("JPY_SESSION_NAME", "notebook.ipynb")
    batches = tf.data.Dataset.from_tensors((np.ones((1, 2)), np.ones((1, 1))))
    net = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    net.compile("sgd", loss="mse")
    loop.train(net, lambda first, end: batches.repeat((end - first) * 3), epochs=2, steps=3)
    shown = capsys.readouterr()
    assert ("6/6" in shown.err) is watched
    assert not shown.out and (watched or not shown.err)


def test_scores_at_thresholds_agree_with_the_confusion_matrix(example):
    labels, logits = example
    p = 1 / (1 + np.exp(-logits[..., 0]))
    curve = metrics.threshold_curve([(labels[:1], p[:1]), (labels[1:], p[1:])])
    for n in (0, 32, 128, 200):
        counts = ConfusionMatrix(2).update(labels, (p > n / 256).astype(int)).counts
        (_, false), (missed, hits) = counts
        assert np.isclose(curve.recall[n], hits / (hits + missed))
        assert np.isclose(curve.precision[n], hits / max(hits + false, 1) if hits + false else 1)
        assert np.isclose(curve.iou[n], hits / (hits + false + missed))
        assert np.isclose(curve.dice[n], 2 * hits / (2 * hits + false + missed))
    assert curve.iou.max() == curve.iou[round(curve.best_threshold() * 256)]
    with pytest.raises(InputError, match="apply a sigmoid"):
        metrics.threshold_curve([(labels, logits[..., 0] * 9)])
    with pytest.raises(InputError, match="differ"):
        metrics.threshold_curve([(labels, p[:1])])


def test_a_pretrained_encoder_keeps_its_statistics():
    network = build_pretrained_unet(filters=16)
    stem, ours = network.get_layer("stem_norm"), network.get_layer("decoder2_norm")
    before, mean = stem.get_weights(), ours.get_weights()[2]
    images = np.random.default_rng(0).normal(size=(2, 64, 96, 3)).astype("float32")
    assert network(images, training=True).shape == (2, 64, 96, 1)
    assert all(map(np.array_equal, before, stem.get_weights()))
    assert not np.array_equal(mean, ours.get_weights()[2])


def test_training_the_decoder_leaves_the_encoder_alone(tmp_path):
    random = np.random.default_rng(0)
    samples = [
        Sample(str(n), random.integers(0, 256, (64, 64, 3), np.uint8), np.eye(64, dtype=np.uint8))
        for n in range(2)
    ]
    records.write_records(samples, tmp_path / "records", shards=1)
    network = build_pretrained_unet(filters=16)
    stem, head = (network.get_layer(name) for name in ("stem", "decoder_logits"))
    before = [stem.get_weights()[0], head.get_weights()[0]]
    history = transfer.train_decoder(network, tmp_path / "records", size=64, epochs=1, seed=0)
    assert np.isfinite(history["loss"]).all()
    assert np.array_equal(before[0], stem.get_weights()[0])
    assert not np.array_equal(before[1], head.get_weights()[0])


def test_a_cat_in_a_photograph_is_found_offline():
    image = photographs.chelsea()
    cat = predict_any_size(transfer.load_cat_network(), image)[..., 0] > 0
    assert cat[:, :300].mean() > 0.8 and cat[:, -60:].mean() < 0.3


def test_the_center_prior_is_the_best_of_all_cuts():
    labels = np.random.default_rng(0).choice([0, 0, 1, 255], (6, 4, 5)).astype(np.uint8)
    prior = metrics.center_prior((None, labels[n : n + 1]) for n in range(6))

    def iou(guess):
        guesses = np.broadcast_to(guess, labels.shape).astype(int)
        return ConfusionMatrix(2).update(labels, guesses).iou()[1]

    often = (labels == 1).sum(axis=0) / np.maximum((labels != 255).sum(axis=0), 1)
    assert np.isclose(iou(prior), max(iou(often >= cut) for cut in np.unique(often)))


def test_colors_of_objects_and_answers_of_nets():
    images = np.zeros((2, 6, 6, 3), np.float32)
    images[0, 2:4, 2:4] = [0.5, 0, -0.5]
    labels = np.array([[[1, 1], [255, 0]], [[0, 0], [0, 255]]], np.uint8)
    colors = metrics.mean_colors([(images, labels)])
    assert np.allclose(colors[0], [0.5, 0, -0.5]) and np.isnan(colors[1]).all()
    matrix = metrics.evaluate_batches(
        [(images, labels)], metrics.constant_prediction(np.array([[True, False]] * 2))
    )
    assert matrix.counts.tolist() == [[2, 2], [1, 1]]

    class Net:
        def predict_on_batch(self, pictures):
            return pictures[:, 2:4, 2:4, :1]

    matrix = metrics.evaluate_batches([(images, labels)], metrics.binary_prediction(Net()))
    assert matrix.counts.tolist() == [[3, 1], [0, 2]]


def test_the_learning_rate_rises_and_falls():
    rate = loop.warmup_cosine(0.01, 100)
    values = [float(rate(step)) for step in (0, 5, 10, 55, 100)]
    assert values[0] < values[1] < values[2] and np.isclose(values[2], 0.01)
    assert np.isclose(values[3], 0.005) and np.isclose(values[4], 0)


def test_a_table_has_a_row_for_each_picture():
    frames = [np.arange(2 * 4 * 12 * 3).reshape(2, 4, 12, 3) + n for n in (0, 1000)]
    parts = tensorboard.table(frames, rows=2)
    assert [part.shape for part in parts] == [(4, 4, 3)] * 8
    assert np.array_equal(parts[6], frames[0][1][:, 8:]) and (parts[7] == parts[6] + 1000).all()
