"""The figures of the latent space: aligned codes, decoded grids, interpolations, the picker."""

import base64
import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tutorial_lib.errors import InputError
from tutorial_lib.figures import latent_space as figures
from tutorial_lib.figures import plotting

RNG = np.random.default_rng(0)
IMAGES = RNG.random((60, 28, 28, 1))
POINTS = RNG.random((90, 2))
LABELS = np.repeat([1, 5, 6], 30)


codes = st.tuples(*[st.floats(-9, 9).filter(lambda v: abs(v) > 0.1)] * 2).map(np.array)


@settings(deadline=None)  # a busy machine is no failure
@given(codes, st.floats(0.2, 6), st.floats(0, 6.28), st.booleans())
def test_alignment_undoes_rotation_mirroring_shift_and_scale(shift, scale, angle, mirror):
    matrix = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    if mirror:
        matrix[:, 0] *= -1
    align = figures.Alignment.fit(*([[0, 0], [1, 0], [0.3, 0.8]] @ matrix + shift))
    np.testing.assert_allclose(align.transform(POINTS @ matrix + shift), POINTS, atol=1e-9)
    back = align.inverse_transform(align.transform(POINTS))
    np.testing.assert_allclose(back, POINTS, atol=1e-9)


def test_three_codes_on_a_line_cannot_align():
    with pytest.raises(InputError, match="on one line"):
        figures.Alignment.fit([0, 0], [1, 1], [2, 2])


def flat(points):
    """Decode x as gray, so that an image shows where it was decoded."""
    return np.broadcast_to(np.asarray(points)[:, :1, None] / 3 + 0.3, (len(points), 28, 28))


def test_a_grid_marks_where_training_digits_are():
    grid = figures.decode_grid(flat, np.array([[0.0, 0.0]]), cell=0.2)
    left, right, low, high = figures.LIMITS
    assert len(grid.xs) == round((right - left) / 0.2)
    assert len(grid.ys) == round((high - low) / 0.2)
    assert 1 <= grid.near_data.sum() <= 4
    row, column = np.argwhere(grid.near_data)[0]
    assert abs(grid.xs[column]) <= 0.2 and abs(grid.ys[row]) <= 0.2
    np.testing.assert_allclose(grid.images[:, 3], grid.xs[3] / 3 + 0.3)


def test_the_limits_grow_with_the_points():
    assert figures.limits_of(POINTS) == figures.LIMITS
    left, right, low, high = figures.limits_of(POINTS * 4)
    assert (left, low) == (figures.LIMITS[0], figures.LIMITS[2])
    assert 3.6 < right <= 4.2 and 3.6 < high <= 4.2
    assert len(figures.decode_grid(flat, POINTS * 4).xs) == round((right - left) / 0.2)


def test_the_limits_of_a_grid_can_be_chosen_and_circles_drawn_over_it(made):
    grid = figures.decode_grid(flat, POINTS, cell=0.5, limits=(-2, 2, -1, 1))
    np.testing.assert_allclose(grid.xs[[0, -1]], [-1.75, 1.75])
    assert grid.images.shape == (4, 8, 28, 28)
    figures.show_latent_space(
        POINTS, LABELS, grid=grid, title="A grid", alt="A grid.", circles=(1, 2), axes=("u", "v")
    )
    (ax,) = made[0].axes
    assert [circle.radius for circle in ax.patches] == [1, 2]
    assert (*ax.get_xlim(), *ax.get_ylim()) == (-2, 2, -1, 1) and ax.get_ylabel() == "v"


def test_a_grid_is_drawn_the_right_way_up_and_tinted_far_from_the_data():
    def rising(points):  # ink grows with y
        return np.broadcast_to(np.asarray(points)[:, 1:, None] / 3 + 0.4, (len(points), 28, 28))

    _, ax = plotting.figure(title="A grid")
    grid = figures.decode_grid(rising, np.array([[-0.5, 0.9]]), cell=0.2)
    figures._draw_grid(ax, grid)
    image, extent = ax.images[0].get_array(), ax.images[0].get_extent()
    np.testing.assert_allclose(extent, figures.LIMITS)
    gray = image.mean(axis=2)
    assert gray[5, -5] < gray[-5, -5]  # above there is more ink
    assert grid.near_data[-1, 0] and not grid.near_data[0, -1]
    assert np.ptp(image[-5, -5]) > np.ptp(image[5, 5])  # the tint


@pytest.fixture
def outputs(monkeypatch):
    found = []
    monkeypatch.setattr("IPython.display.display", lambda what, **kwargs: found.append(what))
    return found


@pytest.fixture
def made(monkeypatch):
    figures = []
    monkeypatch.setattr(plotting, "show", lambda fig, **kwargs: figures.append(fig))
    return figures


def image_of(encoded):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))


def test_what_is_clicked_on_is_what_is_decoded_there(outputs):
    grid = figures.decode_grid(flat, POINTS, cell=0.1)
    alt = "A latent space of three classes."
    figures.show_picker(POINTS, LABELS, grid, title="Click <here>", alt=alt)
    page = outputs[0]["text/html"]
    assert "Click &lt;here&gt;" in page and f'alt="{alt}"' in page
    assert "http" not in page and "$" not in page
    assert not re.search(r"(?:src|href)=\"(?!data:)|@import|url\(|fetch\(", page)
    reel = image_of(re.search(r'reel.src = "data:image/png;base64,([^"]+)', page)[1])
    assert reel.shape == (len(grid.ys) * 28, len(grid.xs) * 28)
    # Left is dark, right is bright, as `flat` decodes it.
    assert abs(int(reel[0, 0]) - 255 * grid.images[-1, 0, 0, 0]) <= 17
    assert abs(int(reel[-1, -1]) - 255 * grid.images[0, -1, 0, 0]) <= 17
    assert min(image_of(outputs[0]["image/png"]).shape[:2]) > 100


def test_the_picker_is_tinted_where_no_digit_is_near(outputs):
    grid = figures.decode_grid(flat, np.array([[-0.5, 0.9]]), cell=0.2)
    figures.show_picker(POINTS, LABELS, grid, title="A title", alt="What it shows to you.")
    page = outputs[0]["text/html"]
    ground = image_of(re.search(r'ground.src = "data:image/png;base64,([^"]+)', page)[1])
    assert np.ptp(ground[20, 20, :3]) == 0 and np.ptp(ground[-20, -120, :3]) > 20  # the tint
    for marker, digit in zip("●■▲", (1, 5, 6), strict=True):
        assert f"{marker}</span> {digit}</span>" in page


def test_rows_of_digits_are_named_and_columns_captioned(made):
    rows = {"input": IMAGES[:3], "16 numbers": IMAGES[3:6, ..., 0]}
    figures.show_digits(rows, ["a", "b", "c"], title="Digits", alt="Two rows of three digits.")
    axes = np.reshape(made[0].axes, (2, 3))
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["input", "16 numbers"]
    assert [ax.get_title() for ax in axes[0]] == ["a", "b", "c"]
    assert np.array_equal(axes[1, 2].images[0].get_array(), IMAGES[5, ..., 0])
    with pytest.raises(ValueError):
        figures.show_digits(rows, ["one too few"] * 2, title="Digits", alt="Two rows of digits.")
    figures.show_digits([IMAGES[:3]], title="Digits", alt="One row of three digits.")
    assert len(made[1].axes) == 3


def test_each_class_has_a_panel_of_its_own_with_the_others_in_gray(made):
    points, labels = RNG.random((30, 2)), np.arange(30) % 3
    figures.show_classes({"a": points, "b": -points}, labels, title="Three", alt="x", columns=2)
    panels = np.reshape(made[0].axes, (4, 2))
    titles = [[ax.get_title() for ax in row] for row in panels]
    assert titles == [["a: 0", "a: 1"], ["a: 2", ""], ["b: 0", "b: 1"], ["b: 2", ""]]
    others, ours = panels[2, 1].collections
    np.testing.assert_array_equal(ours.get_offsets(), -points[labels == 1])
    assert len(others.get_offsets()) == 20


def test_pca_is_compared_where_it_has_the_smaller_error(made):
    pca = np.geomspace(1, 1e-6, 785)
    networks = {2: (pca[4] + pca[5]) / 2, 4: (pca[19] + pca[20]) / 2}
    fewest = figures.show_pca_comparison(pca, networks, title="PCA", alt="Two curves that fall.")
    assert fewest == [5, 20]
    assert [line.get_label() for line in made[0].axes[0].lines] == ["PCA", "network"]


def test_each_class_has_its_own_color_and_its_name_at_its_mean(made):
    points, labels = np.repeat(np.arange(20.0).reshape(10, 2), 2, axis=0), np.repeat(range(10), 2)
    planes = {"network": points, "PCA": -points}
    figures.show_planes(planes, labels, title="Ten", alt="Ten digits on two planes.", circles=(1,))
    left, right = made[0].axes
    assert [ax.get_title() for ax in (left, right)] == ["network", "PCA"]
    assert len({tuple(mark.get_facecolor()[0]) for mark in left.collections}) == 10
    for ax, sign in ((left, 1), (right, -1)):
        for text in ax.texts:
            np.testing.assert_array_equal(text.xy, sign * points[2 * int(text.get_text())])
        assert ax.patches[0].radius == 1


def test_a_class_has_the_same_color_in_every_figure_and_names_do_not_overlap(made):
    points = np.repeat([[0.0, 0.0], [0.01, 0.0], [1.0, 1.0]], 3, axis=0)
    labels = np.repeat([1, 5, 6], 3)
    figures.show_planes({"a": points}, labels, title="Three", alt="Three digits on one plane.")
    figures.show_latent_space(points, labels, title="Three", alt="Three digits on one plane.")
    colors = [[m.get_facecolor()[0, :3].tolist() for m in f.axes[0].collections] for f in made]
    assert colors[0] == colors[1]
    first, second, _ = (np.array(text.get_position()) for text in made[0].axes[0].texts)
    assert np.hypot(*(first - second)) > 0.06
