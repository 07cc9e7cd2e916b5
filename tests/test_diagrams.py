"""Diagrams of networks: the boxes are the feature maps of the built model."""

import pytest

from tutorial_lib.errors import InputError
from tutorial_lib.figures import diagrams
from tutorial_lib.models import backbones, fcn, unet


def test_the_papers_unet_is_drawn_as_in_its_figure():
    maps = diagrams.network_graph(unet.build_unet(572, 1, 4, 4, 2))
    assert [m.shape[0] for m in maps[:3]] == [572, 570, 568]
    assert maps[-1].shape == (388, 388, 2)
    bottom = [m for m in maps if m.level == 4]
    assert [m.shape for m in bottom] == [(32, 32, 32), (30, 30, 64), (28, 28, 64)]
    joined = [m for m in maps if len(m.edges) == 2]
    assert [m.shape[0] for m in joined] == [56, 104, 200, 392]


def test_a_model_for_any_size_needs_one():
    model = fcn.build_fcn(backbones.load_backbone("efficientnet_lite0", None), 8)
    with pytest.raises(InputError, match="give input_size"):
        diagrams.network_graph(model)
