"""The figures of the latent space: aligned codes, decoded grids, the picker."""

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

RNG = np.random.default_rng(0)
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


@pytest.fixture
def outputs(monkeypatch):
    found = []
    monkeypatch.setattr("IPython.display.display", lambda what, **kwargs: found.append(what))
    return found


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
