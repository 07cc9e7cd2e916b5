"""Diagrams of networks: the boxes are the feature maps of the built model."""

import keras
import pytest

from tutorial_lib.errors import InputError
from tutorial_lib.figures import diagrams, plotting
from tutorial_lib.models import autoencoder, backbones, fcn, unet, vgg


def test_the_papers_unet_is_drawn_as_in_its_figure():
    maps = diagrams.network_graph(unet.build_unet(572, 1, 4, 4, 2))
    assert [m.shape[0] for m in maps[:3]] == [572, 570, 568]
    assert maps[-1].shape == (388, 388, 2)
    bottom = [m for m in maps if m.level == 4]
    assert [m.shape for m in bottom] == [(32, 32, 32), (30, 30, 64), (28, 28, 64)]
    joined = [m for m in maps if len(m.edges) == 2]
    assert [m.shape[0] for m in joined] == [56, 104, 200, 392]
    assert all(m.copied == 0.5 for m in joined)
    (_, up, _), (source, skip, text) = joined[-1].edges
    assert (up, skip, source.shape[0]) == ("upsampling", "skip connection", 568)
    assert text == "skip connection: crop and concatenate"


def test_an_fcn_for_any_size_is_drawn_in_stages():
    model = fcn.build_fcn(backbones.load_backbone("efficientnet_lite0", None), 8)
    with pytest.raises(InputError, match="give input_size"):
        diagrams.network_graph(model)
    merged = diagrams._merge_stages(diagrams.network_graph(model, 256))
    encoder = [m.shape for m in merged if m.edges and m.edges[0][2] == "several layers"]
    assert encoder[:4] == [(128, 128, 16), (64, 64, 24), (32, 32, 40), (16, 16, 112)]
    sums = [m for m in merged if len(m.edges) == 2]
    assert [m.shape for m in sums] == [(16, 16, 21), (32, 32, 21)]


def test_side_branches_stand_next_to_where_they_join():
    classifier = vgg.build_vgg(16, input_size=64, width=0.0625, fc_units=8)
    fig, ax = plotting.figure(title="FCN-8s", size=(9.5, 5))
    diagrams.draw_network(
        ax, fcn.build_fcn(classifier, 8), input_size=(64, 96), stages=True, named=["pool3", "fc7"]
    )
    texts = {text.get_text() for text in ax.texts}
    assert {"64×96", "8×12", "21", "pool3", "fc7"} <= texts
    key = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "upsample 2×, upsample 8×" in key and "add" in key


def test_a_model_without_branches():
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(2, 3)])
    fig, ax = plotting.figure(title="One layer", size=(4, 2))
    diagrams.draw_network(ax, model)
    assert [t.get_text() for t in ax.texts if t.get_text()] == ["1", "8", "2", "6"]


def autoencoder_in_one_chain():
    parts = autoencoder.build_encoder().layers + autoencoder.build_decoder().layers
    return keras.Sequential([keras.Input((None, None, 1)), *parts])


def test_a_kernel_as_large_as_its_input_leads_one_level_down_and_its_transpose_up():
    maps = diagrams.network_graph(autoencoder_in_one_chain(), 28)
    assert [(m.shape[0], m.level) for m in maps] == [
        (28, 0), (14, 1), (7, 2), (1, 3), (7, 2), (14, 1), (28, 0),
    ]  # fmt: skip
    assert maps[4].edges[0][1:] == ("upsampling", "7×7 transposed convolution")


def test_kernels_of_different_sizes_have_arrows_of_their_own():
    fig, ax = plotting.figure(title="Autoencoder", size=(7, 4))
    diagrams.draw_network(ax, autoencoder_in_one_chain(), input_size=28)
    key = {line.get_label(): line.get_color() for line in ax.get_legend().get_lines()}
    assert len(key) == len(set(key.values())) == 4
    drawn = [line.get_color() for line in ax.lines]
    assert [drawn.count(color) for color in key.values()] == [2, 1, 2, 1]
