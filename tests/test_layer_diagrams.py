"""Diagrams of layers show what an output depends on."""

import pytest
from matplotlib.colors import to_rgb

from tutorial_lib.figures import layer_diagrams, plotting


@pytest.fixture
def drawn(monkeypatch):
    figures = []
    monkeypatch.setattr(plotting, "show", lambda fig, alt: figures.append(fig))
    return figures


@pytest.mark.parametrize(
    ("stack", "read"),
    [
        ([(3, 1, 1)] * 3, range(6, 13)),
        ([(3, 1, 1), (3, 1, 2), (3, 1, 4)], range(2, 17)),
        ([(3, 1, 2)] * 3, range(3, 16, 2)),
    ],
)
def test_the_colored_cells_are_the_receptive_field(drawn, stack, read):
    layer_diagrams.show_receptive_fields({"a stack": stack}, 19, title="A title", alt="Cells.")
    blue = to_rgb(plotting.PALETTE["input"])
    cells = [p.get_x() for p in drawn[0].axes[0].patches if p.get_facecolor()[:3] == blue]
    assert sorted(round(x - 0.1) for x in cells) == list(read)


def test_each_kernel_has_a_feature_map(drawn):
    layer_diagrams.show_channels(title="A title", alt="Planes.")
    texts = {text.get_text() for text in drawn[0].axes[0].texts}
    assert {"kernel 2: 3×3×3", "feature map 2", "input: 5×5×3"} <= texts


def test_every_output_shows_its_sum(drawn):
    layer_diagrams.show_gather_and_scatter([3, 0, 1], [1, 2], [1, 10], 1, title="A", alt="B")
    gather, scatter = ({text.get_text() for text in ax.texts} for ax in drawn[0].axes)
    assert {"1·3 + 10·0 = 3", "1·0 + 10·1 = 10"} <= gather
    assert {"1·1 = 1", "10·1 + 1·2 = 12", "10·2 = 20"} <= scatter
