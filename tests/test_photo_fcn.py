"""The FCN for photographs: its network, its checkpoint and the recipe that makes it."""

import numpy as np
import pytest
from helpers import REAL, needs_real_data, run
from skimage import data as photos

from tutorial_lib.data import records, voc
from tutorial_lib.data.cache import file_hash
from tutorial_lib.data.images import normalize
from tutorial_lib.errors import InputError
from tutorial_lib.models import efficientnet_lite, photo_fcn
from tutorial_lib.training import checkpoints, pretrain, transfer
from tutorial_lib.training import photo_fcn as training


@pytest.fixture(scope="module")
def network():
    return training.load_voc_network()


def share(labels, name):
    return np.mean(labels == voc.CLASSES.index(name))


def test_photographs_are_segmented_offline(network):
    chelsea = network.segment(photos.chelsea())
    assert share(chelsea, "cat") > 0.5 and share(chelsea[:, -60:], "cat") < 0.5
    astronaut = network.segment(photos.astronaut())
    assert share(astronaut[100:, 100:350], "person") > 0.6
    assert share(network.segment(photos.stereo_motorcycle()[0]), "motorbike") > 0.2


def test_the_evidence_for_a_cat_is_what_the_classifier_says():
    image = normalize(photos.chelsea()[:288, :448])[None]
    backbone = photo_fcn.photo_backbone()
    evidence = backbone.get_layer("evidence")
    maps = efficientnet_lite.build_efficientnet_lite0()(image)[0].numpy()
    probabilities = np.exp(maps) / np.exp(maps).sum()
    import keras

    outputs = keras.Model(backbone.inputs[0], evidence.output)(image).numpy()[0, 0, 0]
    cat = list(photo_fcn.IMAGENET_CLASSES).index("cat")
    expected = np.log(probabilities[281:286].sum() + np.exp(-10)) / 5 + 1
    assert outputs[20 + cat] == pytest.approx(expected, abs=1e-4)
    assert tuple(photo_fcn.IMAGENET_CLASSES) == tuple(voc.CLASSES[1:])


@pytest.mark.parametrize("content", [None, b"damaged"])
@pytest.mark.parametrize(
    ("module", "load"),
    [
        (training, training.load_voc_network),
        (transfer, transfer.load_cat_network),
        (pretrain, pretrain.load_classifier),
    ],
    ids=["voc", "cats", "pictograms"],
)
def test_a_missing_or_damaged_checkpoint_is_one_line(tmp_path, monkeypatch, module, load, content):
    monkeypatch.setattr(module, "CHECKPOINT", tmp_path / "weights")
    if content:
        module.CHECKPOINT.write_bytes(content)
    with pytest.raises(InputError, match="is (missing|damaged); restore it with git"):
        load()


@pytest.mark.slow
@needs_real_data
def test_the_recipe_trains_saves_and_loads(tmp_path, monkeypatch):
    real = REAL
    monkeypatch.setenv("TUTORIAL_DATA", str(tmp_path))
    monkeypatch.setattr(training, "CHECKPOINT", tmp_path / "scores.npz")
    few = training.training_samples(real / "VOCdevkit", [real / "coco"])
    samples = [sample for number, sample in enumerate(few) if number < 4 or number > 280]
    assert {len(sample.labels.shape) for sample in samples} == {2}
    folder = tmp_path / "records"
    records.write_records(samples[:6], folder, shards=1)
    lines = []
    trained = training.train_scores(folder, seed=0, echo=lines.append, epochs=1, batch_size=3)
    checkpoints.save_layers(trained, training.SCORES, training.CHECKPOINT)
    monkeypatch.setattr(training, "CHECKPOINT_SHA256", file_hash(training.CHECKPOINT))
    image = normalize(photos.chelsea()[:96, :128])[None]
    loaded = training.load_voc_network().model
    np.testing.assert_allclose(loaded(image), trained(image), atol=0.05)
    assert lines[0].startswith("epoch 1: loss ")


def test_the_recipe_says_what_is_missing(tmp_path):
    result = run("pretrain", "voc", "--data", tmp_path)
    assert result.exit_code != 0 and "holds no VOC2012" in result.output


def test_a_sticker_of_the_largest_object(tmp_path):
    from PIL import Image

    Image.fromarray(photos.chelsea()).save(tmp_path / "chelsea.jpg")
    output = tmp_path / "cat.png"
    arguments = ["sticker", str(tmp_path / "chelsea.jpg"), "-o", str(output)]
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert result.output.startswith(f"{output}: cat, ")
    assert max(Image.open(output).size) == 512


def test_nothing_to_cut_out_is_one_line(tmp_path):
    from PIL import Image
    from sklearn.datasets import load_sample_image

    Image.fromarray(load_sample_image("china.jpg")).save(tmp_path / "temple.jpg")
    result = run("sticker", tmp_path / "temple.jpg", "-o", tmp_path / "x.png")
    assert result.exit_code != 0 and "finds no object" in result.output
