"""The networks: shapes, parameter counts, surgery, alignment, losses."""

import keras
import numpy as np
import pytest
from helpers import valid_input_sizes

from tutorial_lib.convolution import conv2d_transpose
from tutorial_lib.data.images import Sample, crop_around, mosaic, resize_short_side, showcase
from tutorial_lib.errors import InputError
from tutorial_lib.models import autoencoder, backbones, fcn, unet, vgg
from tutorial_lib.training import checkpoints, losses, pretrain


@pytest.fixture(scope="module")
def classifier():
    keras.utils.set_random_seed(0)
    return vgg.build_vgg(16, width=1 / 16, input_size=96, classes=10, fc_units=32)


def test_the_papers_unet():
    net = unet.build_unet(572, channels=1, classes=2)
    assert net.output_shape == (None, 388, 388, 2)
    assert net.count_params() == 31_030_658  # 31.03 million


def test_output_sizes_agree_with_the_built_net():
    for depth in (1, 2, 3):
        for size in valid_input_sizes(depth, 130)[:3]:
            net = unet.build_unet(size, base_filters=1, depth=depth)
            assert net.output_shape[1] == unet.valid_output_size(size, depth)


@pytest.mark.parametrize("depth", range(5))
def test_the_nearest_sizes_are_those_of_the_list(depth):
    sizes = valid_input_sizes(depth, 400)
    for size in sorted(set(range(-20, 300)) - set(sizes)):
        below, above = [s for s in sizes if s < size][-1:], [s for s in sizes if s > size][0]
        ending = f"do: {below[0]} or {above}$" if below else f"works: {above}$"
        with pytest.raises(InputError, match=ending):
            unet.valid_output_size(size, depth)


def test_a_net_for_one_size_is_no_backbone():
    with pytest.raises(InputError, match="does not take images of 256×256 pixels; build it for"):
        fcn.build_fcn(unet.build_unet(60, base_filters=1, depth=2), 8)


@pytest.mark.slow
def test_vgg_of_the_paper():
    net = vgg.build_vgg(16)
    assert net.count_params() == 138_357_544  # configuration D
    assert sum("conv" in w.path and "kernel" in w.path for w in vgg.build_vgg(19).weights) == 16
    with pytest.raises(InputError, match="choose one of 16, 19"):
        vgg.build_vgg(17)
    with pytest.raises(InputError, match="multiple of 32"):
        vgg.build_vgg(16, input_size=100)


def test_a_folded_net_computes_the_same():
    options = {"width": 1 / 16, "input_size": 64, "classes": 4, "fc_units": 8}
    normalized = vgg.build_vgg(16, **options, batch_norm=True)
    rng = np.random.default_rng(0)
    for layer in normalized.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in layer.get_weights()])
    plain = vgg.fold_batch_norm(normalized, vgg.build_vgg(16, **options))
    x = rng.normal(size=(2, 64, 64, 3)).astype("float32")
    np.testing.assert_allclose(plain(x), normalized(x), rtol=1e-3, atol=1e-4)


def test_surgery_at_the_papers_size():
    options = {"width": 1 / 8, "input_size": 224, "classes": 100, "fc_units": 256}
    classifier = vgg.build_vgg(16, **options)
    rng = np.random.default_rng(0)
    for layer in classifier.layers:
        if layer.weights:
            kernel, bias = layer.get_weights()
            layer.set_weights([kernel, rng.normal(size=bias.shape)])
    net = fcn.convolutionalize(classifier)
    assert net.get_layer("fc6").kernel.shape[:2] == (7, 7)
    x = rng.uniform(-1, 1, (1, 224, 224, 3)).astype("float32")
    expected = np.asarray(classifier(x))
    np.testing.assert_allclose(net(x)[:, 0, 0], expected, atol=1e-5 * np.abs(expected).max())
    assert net(np.zeros((1, 320, 288, 3))).shape == (1, 4, 3, 100)


def test_another_backbone_takes_vggs_place(tmp_path):
    body = backbones.load_backbone("mobilenet", weights=None, alpha=0.25)
    net = fcn.build_fcn(body, 8, classes=4)
    assert net(np.zeros((1, 96, 128, 3))).shape == (1, 96, 128, 4)
    skips = {name: net.get_layer(f"score_{name}").kernel.shape[2] for name in ("pool3", "pool4")}
    assert skips == {"pool3": 64, "pool4": 128}
    assert net.get_layer("score_fc7").kernel.shape[2] == 2 * 256
    assert net.get_layer("conv1").kernel is not body.get_layer("conv1").kernel
    np.testing.assert_array_equal(net.get_layer("conv1").kernel, body.get_layer("conv1").kernel)
    published = keras.applications.MobileNet(include_top=False, weights=None, alpha=0.25)
    published.save_weights(tmp_path / "m.weights.h5")
    again = backbones.load_backbone("mobilenet", tmp_path / "m.weights.h5", alpha=0.25)
    np.testing.assert_equal(again.get_weights(), published.get_weights())
    with pytest.raises(InputError, match="backbone='vgg' is not known"):
        backbones.load_backbone("vgg")
    with pytest.raises(InputError, match="is missing: the weights of mobilenet"):
        backbones.load_backbone("mobilenet", tmp_path / "none.h5")
    with pytest.raises(InputError, match="do not fit"):
        backbones.load_backbone("mobilenet", tmp_path / "m.weights.h5", alpha=0.5)


def test_the_width_of_a_mobilenet_is_read_from_the_name_of_its_file(tmp_path):
    assert backbones.published_width("there/mobilenet_1_0_224_tf_no_top.h5") == 1
    assert backbones.published_width("mobilenet_2_5_224_tf_no_top.h5") == 0.25
    for nothing in (None, "imagenet", "weights.h5", "mobilenet_9_9_224_tf_no_top.h5"):
        assert backbones.published_width(nothing) is None
    path = tmp_path / "mobilenet_5_0_96.weights.h5"
    half = keras.applications.MobileNet(include_top=False, weights=None, alpha=0.5)
    half.save_weights(path)
    kernel = backbones.load_backbone("mobilenet", path).get_layer("conv1").kernel
    np.testing.assert_array_equal(kernel, half.get_layer("conv1").kernel)
    with pytest.raises(InputError, match="do not fit mobilenet with {'alpha': 0.25}"):
        backbones.load_backbone("mobilenet", path, alpha=0.25)
    path.write_bytes(b"no weights")
    with pytest.raises(InputError, match="cannot load the weights of mobilenet"):
        backbones.load_backbone("mobilenet", path)
    path.rename(tmp_path / "no.keras")
    with pytest.raises(InputError, match="cannot load the weights of mobilenet"):
        backbones.load_backbone("mobilenet", tmp_path / "no.keras")


def test_weights_that_cannot_be_downloaded_are_one_line(monkeypatch):
    def fail(*arguments, **options):
        raise Exception("URL fetch failure")  # as Keras does

    monkeypatch.setattr(keras.applications, "MobileNet", fail)
    with pytest.raises(InputError, match="cannot load the weights of mobilenet .URL fetch failure"):
        backbones.load_backbone("mobilenet")


def test_context_is_the_mean_of_the_whole_map(tmp_path):
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype("float32")
    long = np.asarray(backbones.L2Normalization()(x))
    np.testing.assert_allclose(np.linalg.norm(long, axis=-1), backbones.NORM, rtol=1e-4)
    np.testing.assert_allclose(long / x, (long / x)[..., :1] * np.ones(4), rtol=1e-4)
    wide = np.asarray(backbones.GlobalContext()(x))
    assert wide.shape == (2, 3, 5, 8) and np.array_equal(wide[..., :4], long)
    mean = x.mean(axis=(1, 2))
    mean *= backbones.NORM / np.linalg.norm(mean, axis=-1, keepdims=True)
    expected = np.broadcast_to(mean[:, None, None], x.shape)
    np.testing.assert_allclose(wide[..., 4:], expected, rtol=1e-4)
    body = backbones.load_backbone("mobilenet", weights=None, alpha=0.25)
    net = fcn.build_fcn(body, 16, classes=3)
    checkpoints.save_network(net, tmp_path / "net.keras", ("background", "a", "b"), short_side=64)
    image = np.full((40, 70, 3), 200, np.uint8)
    assert checkpoints.load_network(tmp_path / "net.keras").segment(image).shape == (40, 70)


@pytest.mark.parametrize("stride", fcn.STRIDES)
def test_fcn_gives_a_score_for_every_pixel_and_starts_undecided(classifier, stride):
    net = fcn.build_fcn(classifier, stride, classes=5)
    logits = net(np.random.default_rng(0).normal(size=(1, 96, 160, 3)))
    assert logits.shape == (1, 96, 160, 5) and not np.any(logits)


def test_a_finer_net_starts_where_the_coarser_one_ended(classifier):
    coarse = fcn.build_fcn(classifier, 32, classes=3)
    rng = np.random.default_rng(0)
    score = coarse.get_layer("score_fc7")
    score.set_weights([rng.normal(size=w.shape) for w in score.get_weights()])
    x = rng.normal(size=(1, 128, 128, 3))
    coarse_map = keras.Model(coarse.input, score.output)(x)
    for stride, factors in ((16, (2, 16)), (8, (2, 2, 8))):
        expected = coarse_map
        for factor in factors:
            expected = fcn.upsample(expected, factor)
        finer = fcn.warm_start(fcn.build_fcn(classifier, stride, classes=3), coarse)
        np.testing.assert_allclose(finer(x), expected, rtol=1e-4, atol=1e-5)


def test_a_compiled_fcn_predicts_images_of_any_size():
    inputs = keras.Input((None, None, 2))
    model = keras.Model(inputs, fcn.upsample(inputs, 4))
    for size in (3, 5, 6):  # after the second size, Keras compiles for every size
        x = np.random.default_rng(size).random((1, size, size + 1, 2), "float32")
        expected = keras.layers.UpSampling2D(4, interpolation="bilinear")(x)
        np.testing.assert_allclose(model.predict_on_batch(x), expected, atol=1e-5)


@pytest.mark.parametrize("factor", [2, 8, 16, 32])
def test_upsampling_is_the_transposed_convolution_with_the_bilinear_kernel(factor):
    x = np.random.default_rng(0).normal(size=(1, 4, 5, 1)).astype("float32")
    kernel = fcn.bilinear_kernel(factor)[..., None, None]
    upsampled = np.asarray(fcn.upsample(x, factor))
    plain = conv2d_transpose(x, kernel, factor, "SAME")
    inside = (slice(None), slice(factor // 2, -factor // 2), slice(factor // 2, -factor // 2))
    np.testing.assert_allclose(upsampled[inside], plain[inside], atol=1e-5)
    assert not np.allclose(upsampled, plain, atol=1e-2)  # at the border zeros mix in
    padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="edge")
    whole = conv2d_transpose(padded, kernel, factor, "SAME")[:, factor:-factor, factor:-factor]
    np.testing.assert_allclose(upsampled, whole, atol=1e-5)
    assert np.allclose(fcn.upsample(np.ones((1, 3, 4, 2)), factor), 1)


def test_the_checkpoint_classifies_new_pictures():
    net = pretrain.load_classifier()
    images, classes = pretrain.object_images(100, seed=99)
    scores = net.predict(pretrain.normalize(images), verbose=0)
    assert np.mean(scores.argmax(axis=1) == classes) > 0.8
    assert pretrain.CHECKPOINT.stat().st_size < 5_000_000


def test_autoencoder_shapes_mirror_each_other():
    whole = autoencoder.build_autoencoder(latent_dim=3)
    x, shapes = np.zeros((1, 28, 28, 1), "float32"), []
    for part in ("encoder", "decoder"):
        for layer in whole.get_layer(part).layers:
            x = layer(x)
            shapes.append(tuple(x.shape[1:]))
    down = [(14, 14, 32), (7, 7, 64), (1, 1, 3)]
    assert shapes == [*down, (7, 7, 64), (14, 14, 32), (28, 28, 1)]


def test_the_encoder_slides_over_a_larger_image():
    encoder = autoencoder.build_encoder()
    digit = np.random.default_rng(0).random((1, 28, 28, 1), "float32")
    digit[:, [0, -1]] = digit[:, :, [0, -1]] = 0
    canvas = np.zeros((1, 64, 200, 1), "float32")
    canvas[:, 8:36, 100:128] = digit
    codes = encoder(canvas)
    assert codes.shape == (1, 10, 44, 2)
    np.testing.assert_allclose(codes[0, 2, 25], encoder(digit)[0, 0, 0], atol=1e-5)
    assert autoencoder.build_decoder()(codes).shape == (1, 64, 200, 1)


def test_losses_leave_void_out_and_equal_keras_on_the_rest():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(2, 4, 5, 3)).astype("float32")
    labels = rng.integers(0, 3, (2, 4, 5)).astype("uint8")
    labels[0, 1] = 255
    seen = labels != 255
    expected = keras.losses.SparseCategoricalCrossentropy(from_logits=True)(
        labels[seen], logits[seen]
    )
    np.testing.assert_allclose(losses.pixel_cross_entropy(labels, logits), expected, rtol=1e-5)

    binary = np.where(labels == 2, 1, labels)
    expected = keras.losses.BinaryCrossentropy(from_logits=True)(binary[seen], logits[seen][:, 0])
    value = losses.binary_cross_entropy(binary, logits[..., :1])
    np.testing.assert_allclose(value, expected, rtol=1e-5)
    assert losses.binary_cross_entropy(np.full((1, 2, 2), 255), np.ones((1, 2, 2, 1))) == 0


def test_shrinking_keeps_labels_whole():
    labels = np.random.default_rng(0).choice([0, 8, 255], (60, 90)).astype(np.uint8)
    small = resize_short_side(Sample("a", np.zeros((60, 90, 3), np.uint8), labels), 20)
    assert small.labels.shape == (20, 30) and small.image.shape == (20, 30, 3)
    assert set(np.unique(small.labels)) <= {0, 8, 255}
    assert resize_short_side(small, 40) is small


def test_a_mosaic_keeps_pictures_and_labels_together():
    sizes = [(4, 6), (5, 3), (7, 7), (3, 9)]
    samples = [
        Sample(str(n), np.full((*size, 3), n, np.uint8), np.full(size, n, np.uint8))
        for n, size in enumerate(sizes)
    ]
    four = mosaic(samples)
    assert four.image.shape == (6, 6, 3) and four.labels.shape == (6, 6)
    assert four.labels[::3, ::3].tolist() == [[0, 1], [2, 3]]
    np.testing.assert_array_equal(four.image, np.repeat(four.labels[..., None], 3, axis=-1))
    with pytest.raises(InputError, match="four samples, not of 3"):
        mosaic(samples[:3])


def test_a_crop_around_an_object():
    labels = np.zeros((40, 90), np.uint8)
    labels[5:15, 70:80] = 8
    image = np.repeat(np.arange(90, dtype=np.uint8)[None, :, None], 40, axis=0).repeat(3, axis=2)
    cut = crop_around(Sample("a", image, labels), labels == 8, 20)
    assert cut.labels.shape == cut.image.shape[:2] == (20, 20)
    assert (cut.labels[5:15, 5:15] == 8).all() and cut.image[0, 0, 0] == 65
    rim = crop_around(cut, cut.image[..., 0] > 80, 12)
    assert rim.labels.shape == (12, 12) and rim.image[0, -1, 0] == 84
    assert crop_around(cut, cut.labels == 3, 30).labels.shape == (20, 20)


def test_the_sample_that_shows_a_class_best():
    def sample(name, rows, columns):
        labels = np.zeros((30, 40), np.uint8)
        labels[rows, columns] = 8
        return Sample(name, np.zeros((30, 40, 3), np.uint8), labels)

    cut_off = sample("cut off", slice(0, 25), slice(5, 30))
    small, large = (sample(str(n), slice(5, 5 + n), slice(5, 5 + n)) for n in (6, 9))
    assert showcase([small, cut_off, large], 8, 20).id == "9"
    assert showcase([sample("none", slice(0), slice(0)), cut_off], 8, 20).id == "cut off"


HUGE = 10**5000


@pytest.mark.parametrize(
    "call",
    [
        *(
            lambda bad=bad: unet.build_unet(bad)
            for bad in (188.0, "188", True, -4, HUGE, (1, 2, 3))
        ),
        *(lambda bad=bad: unet.build_unet(188, depth=bad) for bad in (1.0, -1, 60, None)),
        *(lambda bad=bad: unet.build_unet(188, bad) for bad in (0, 3.0, HUGE)),
        lambda: unet.build_unet(188, base_filters=50_000),
        lambda: unet.build_unet(188, classes=0),
        lambda: unet.double_convolution(keras.Input((8, 8, 1)), 2.5, "a"),
        lambda: unet.up_convolution(keras.Input((8, 8, 1)), -1, "a"),
        lambda: unet.copy_and_crop(keras.Input((2, 8, 1)), keras.Input((8, 8, 1)), "a"),
        lambda: unet.output_convolution(keras.Input((8, 8, 1)), "2", "a"),
        lambda: unet.valid_output_size(float("nan")),
        lambda: unet.valid_output_size(572, 4.0),
        lambda: vgg.build_vgg(16.5),
        lambda: vgg.build_vgg([16]),
        lambda: vgg.build_vgg(16, width=-1),
        *(lambda bad=bad: vgg.build_vgg(16, input_size=bad) for bad in (0, 96.0, "96", HUGE)),
        lambda: vgg.build_vgg(16, 1 / 16, 32, classes=True),
        lambda: vgg.build_vgg(16, 1 / 16, 32, fc_units=0),
        lambda: fcn.convolutionalize("vgg"),
        lambda: fcn.convolutionalize(keras.Sequential([keras.layers.Dense(1)])),
        lambda: fcn.convolutionalize(vgg.build_vgg(16, 1 / 16, 32, 2, 4), padding="SAME"),
        *(lambda bad=bad: fcn.build_fcn(None, bad) for bad in (4, "8", HUGE, 8)),
        lambda: fcn.build_fcn(vgg.build_vgg(16, 1 / 16, 32, 2, 4), classes=21.0),
        lambda: fcn.feature_maps(3),
        lambda: fcn.score_layer(keras.Input((8, 8, 1)), 0, "a"),
        *(lambda bad=bad: fcn.upsample(np.ones((1, 2, 2, 1)), bad) for bad in (0, 2.0, "2", HUGE)),
        *(lambda bad=bad: fcn.bilinear_kernel(bad) for bad in (3, 2.0, 0, True, HUGE)),
        lambda: fcn.warm_start(None, None),
    ],
)
def test_impossible_arguments_are_one_line(call):
    with pytest.raises(InputError) as caught:
        call()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_a_warm_start_needs_the_same_classes(classifier):
    with pytest.raises(InputError, match="layer score_fc7 has different shapes in fcn16s and fcn3"):
        fcn.warm_start(fcn.build_fcn(classifier, 16, classes=3), fcn.build_fcn(classifier, 32))
