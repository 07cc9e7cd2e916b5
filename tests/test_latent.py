"""Codes: maps, neighbors, the linear baseline, and the pictures of them."""

import base64
import io
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KNeighborsClassifier

from tutorial_lib import latent_codes
from tutorial_lib.errors import InputError
from tutorial_lib.figures import latent_space as figures
from tutorial_lib.figures import plotting

RNG = np.random.default_rng(0)
IMAGES = RNG.random((60, 28, 28, 1))
POINTS = RNG.random((90, 2))
LABELS = np.repeat([1, 5, 6], 30)


@pytest.mark.parametrize("k", [1, 2, 8])
def test_pca_is_that_of_scikit_learn(k):
    ours, theirs = (
        latent_codes.Pca.fit(IMAGES, k),
        PCA(k, svd_solver="full").fit(IMAGES.reshape(60, -1)),
    )
    others = RNG.random((7, 28, 28, 1))
    codes = theirs.transform(others.reshape(7, -1))
    np.testing.assert_allclose(
        ours(others).reshape(7, -1), theirs.inverse_transform(codes), atol=1e-8
    )
    np.testing.assert_allclose(np.abs(ours.encode(others)), np.abs(codes), atol=1e-8)


def test_pca_with_an_impossible_number_of_components():
    with pytest.raises(InputError, match="use 1 to 784"):
        latent_codes.Pca.fit(IMAGES, 0)


codes = st.tuples(*[st.floats(-9, 9).filter(lambda v: abs(v) > 0.1)] * 2).map(np.array)


@settings(deadline=None)  # a busy machine is no failure
@given(codes, st.floats(0.2, 6), st.floats(0, 6.28), st.booleans())
def test_a_map_undoes_turning_mirroring_moving_and_stretching(move, stretch, turn, mirror):
    matrix = stretch * np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    if mirror:
        matrix[:, 0] *= -1
    plane = latent_codes.Map.through(*([[0, 0], [1, 0], [0.3, 0.8]] @ matrix + move))
    np.testing.assert_allclose(plane.to_map(POINTS @ matrix + move), POINTS, atol=1e-9)
    np.testing.assert_allclose(plane.from_map(plane.to_map(POINTS)), POINTS, atol=1e-9)


def test_three_codes_on_a_line_make_no_map():
    with pytest.raises(InputError, match="on one line"):
        latent_codes.Map.through([0, 0], [1, 1], [2, 2])


def test_neighbors_are_those_of_scikit_learn(monkeypatch):
    monkeypatch.setattr(latent_codes, "CHUNK", 7)
    indices, distances = latent_codes.nearest(POINTS[:20], POINTS[20:], 5)
    theirs = KNeighborsClassifier(5).fit(POINTS[20:], LABELS[20:])
    expected = theirs.kneighbors(POINTS[:20])
    assert np.array_equal(indices, expected[1])
    np.testing.assert_allclose(distances, expected[0], atol=1e-7)
    ours = latent_codes.neighbor_accuracy(POINTS[:20], LABELS[:20], POINTS[20:], LABELS[20:])
    assert ours == pytest.approx(theirs.score(POINTS[:20], LABELS[:20]))


@settings(deadline=None)  # a busy machine is no failure
@given(st.lists(st.integers(0, 5), min_size=1), st.lists(st.integers(0, 5), min_size=1))
def test_auc_is_that_of_scikit_learn_ties_and_all(usual, odd):
    truth = [0] * len(usual) + [1] * len(odd)
    assert latent_codes.auc(usual, odd) == pytest.approx(roc_auc_score(truth, usual + odd))


def flat(points):
    """Draw x as gray: what is decoded says where."""
    return np.broadcast_to(np.asarray(points)[:, :1, None] / 3 + 0.3, (len(points), 28, 28))


def test_a_sheet_knows_where_training_digits_are():
    drawn = figures.sheet(flat, np.array([[0.0, 0.0]]), cell=0.2)
    left, right, low, high = figures.WINDOW
    assert len(drawn.xs) == round((right - left) / 0.2)
    assert len(drawn.ys) == round((high - low) / 0.2)
    assert 1 <= drawn.known.sum() <= 4
    row, column = np.argwhere(drawn.known)[0]
    assert abs(drawn.xs[column]) <= 0.2 and abs(drawn.ys[row]) <= 0.2
    np.testing.assert_allclose(drawn.images[:, 3], drawn.xs[3] / 3 + 0.3)


def test_the_window_grows_with_what_it_has_to_show():
    assert figures.window(POINTS) == figures.WINDOW
    left, right, low, high = figures.window(POINTS * 4)
    assert (left, low) == (figures.WINDOW[0], figures.WINDOW[2])
    assert 3.6 < right <= 4.2 and 3.6 < high <= 4.2
    assert len(figures.sheet(flat, POINTS * 4).xs) == round((right - left) / 0.2)


def test_a_sheet_is_drawn_the_right_way_up_and_tinted_where_unknown():
    def rising(points):  # ink grows with y
        return np.broadcast_to(np.asarray(points)[:, 1:, None] / 3 + 0.4, (len(points), 28, 28))

    _, ax = plotting.figure(title="A sheet")
    drawn = figures.sheet(rising, np.array([[-0.5, 0.9]]), cell=0.2)
    figures.draw_sheet(ax, drawn)
    picture, extent = ax.images[0].get_array(), ax.images[0].get_extent()
    np.testing.assert_allclose(extent, figures.WINDOW)
    gray = picture.mean(axis=2)
    assert gray[5, -5] < gray[-5, -5]  # above there is more ink
    assert drawn.known[-1, 0] and not drawn.known[0, -1]
    assert np.ptp(picture[-5, -5]) > np.ptp(picture[5, 5])  # the tint


def shown(monkeypatch):
    outputs = []
    monkeypatch.setattr("IPython.display.display", lambda what, **kwargs: outputs.append(what))
    return outputs


def picture(encoded):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))


def test_what_is_clicked_on_is_what_is_decoded_there(monkeypatch):
    outputs = shown(monkeypatch)
    drawn = figures.sheet(flat, POINTS, cell=0.1)
    figures.show_picker(POINTS, LABELS, drawn, title="Click <here>", alt="A map of three kinds.")
    page = outputs[0]["text/html"]
    assert "Click &lt;here&gt;" in page and 'alt="A map of three kinds."' in page
    assert "http" not in page and "$" not in page
    reel = picture(re.search(r'reel.src = "data:image/png;base64,([^"]+)', page)[1])
    assert reel.shape == (len(drawn.ys) * 28, len(drawn.xs) * 28)
    # Left is dark, right is bright, as `flat` decodes it.
    assert abs(int(reel[0, 0]) - 255 * drawn.images[-1, 0, 0, 0]) <= 17
    assert abs(int(reel[-1, -1]) - 255 * drawn.images[0, -1, 0, 0]) <= 17
    assert picture(outputs[0]["image/png"]).ndim == 3


def test_the_picker_needs_no_network_and_says_where_no_digit_is_near(monkeypatch):
    drawn = figures.sheet(flat, np.array([[-0.5, 0.9]]), cell=0.2)
    ground = figures._bare_map(POINTS, LABELS, drawn)
    page = figures.picker_html(ground, LABELS, drawn, b"png", "A title", "What it shows.")
    assert not re.search(r"(?:src|href)=\"(?!data:)|@import|url\(|fetch\(", page)
    ground = picture(re.search(r'ground.src = "data:image/png;base64,([^"]+)', page)[1])
    assert np.ptp(ground[20, 20, :3]) == 0 and np.ptp(ground[-20, -120, :3]) > 20  # the tint
    for mark, digit in zip("●■▲", (1, 5, 6), strict=True):
        assert f"{mark}</span> {digit}</span>" in page


def test_rows_of_digits_are_named_and_columns_captioned(monkeypatch):
    made = []
    monkeypatch.setattr(plotting, "show", lambda fig, alt, dpi: made.append(fig))
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


def test_rivals_draw_level_where_pca_has_the_smaller_error(monkeypatch):
    monkeypatch.setattr(plotting, "show", lambda fig, alt: None)
    parts = np.mean(latent_codes.Pca.fit(IMAGES, 784).encode(IMAGES) ** 2, axis=0)
    left = parts[::-1].cumsum()[::-1] / 784  # by Pythagoras
    direct = [np.mean((latent_codes.Pca.fit(IMAGES, k)(IMAGES) - IMAGES) ** 2) for k in (1, 5, 20)]
    np.testing.assert_allclose(left[[1, 5, 20]], direct, rtol=1e-6)
    between = {2: (left[4] + left[5]) / 2, 4: (left[19] + left[20]) / 2}
    title, alt = "Rivals", "Two curves that fall."
    assert figures.show_rivals(left, between, title=title, alt=alt) == [5, 20]


def test_signs_whose_middles_coincide_stand_side_by_side(monkeypatch):
    made = []
    monkeypatch.setattr(plotting, "show", lambda fig, alt: made.append(fig))
    points = np.array([[0, 0], [9, 9], [5, 5], [5.01, 5]])
    figures.show_signs(points, np.array([0, 1, 4, 9]), title="Signs", alt="Four signs on a plane.")
    sides = {text.get_text(): text.get_ha() for text in made[0].axes[0].texts}
    assert sides == {"0": "center", "1": "center", "4": "right", "9": "left"}


def test_frames_of_a_walk_keep_exact_grays():
    ramp = np.linspace(0, 1, 784).reshape(1, 28, 28)
    (frame,), drawn = figures._walk_frames(np.zeros((1, 2)), ramp, POINTS, LABELS)
    grays = frame[np.ptp(frame, axis=-1) == 0]
    assert set(range(0, 256, 17)) <= set(grays.ravel().tolist())
    assert len(np.unique(frame.reshape(-1, 3), axis=0)) <= figures.WALK_COLORS
    assert f"1 line {plotting.PALETTE['truth'].lower()}ff None 1.5, marker o 9" in drawn


def test_a_walk_has_a_frame_a_step_and_a_strip(monkeypatch):
    outputs = shown(monkeypatch)
    walk = np.linspace([0, 0], [1, 0], 5)
    title, alt = "From here to there", "A digit that changes from left to right."
    figures.show_walk(walk, flat(walk), POINTS, LABELS, title=title, alt=alt)
    page = outputs[0]["text/html"]
    reel = picture(re.search(r'reel.src = "data:image/png;base64,([^"]+)', page)[1])
    assert reel.shape[1] % 5 == 0 and "50 % of the way" in page
    frames = np.split(reel, 5, axis=1)
    assert not np.array_equal(frames[0], frames[4])
