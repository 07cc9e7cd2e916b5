"""The fully connected CRF: against a double loop, and for what it is good for."""

import numpy as np
import pytest

from tutorial_lib import crf
from tutorial_lib.errors import InputError

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (7, 9, 3), dtype=np.uint8)
LOGITS = RNG.normal(size=(7, 9, 4)).astype(np.float32)


def by_double_loop(q, weight):
    """Return the weighted mean of all other pixels' probabilities, pair by pair."""
    message = np.zeros_like(q, dtype=float)
    places = list(np.ndindex(q.shape[:2]))
    for here in places:
        weights = [0.0 if there == here else weight(here, there) for there in places]
        message[here] = np.average([q[there] for there in places], axis=0, weights=weights)
    return message


def test_with_an_anchor_at_every_pixel_it_is_the_exact_sum():
    q = crf.softmax(LOGITS)

    def weight(here, there):
        position = sum((a - b) ** 2 for a, b in zip(here, there, strict=True)) / 3.0**2
        color = ((IMAGE[here].astype(float) - IMAGE[there]) ** 2).sum() / 90.0**2
        return np.exp(-(position + color) / 2)

    kernel, grid = crf.appearance_kernel(IMAGE, 3.0, 90.0, anchors=63)
    assert grid.tolist() == list(range(63))
    message = (kernel @ q.reshape(63, 4)).reshape(q.shape)
    np.testing.assert_allclose(message, by_double_loop(q, weight), atol=1e-5)


def test_the_smoothness_kernel_is_the_sum_over_pairs():
    q = crf.softmax(LOGITS)

    def weight(here, there):
        return np.exp(-sum((a - b) ** 2 for a, b in zip(here, there, strict=True)) / (2 * 1.5**2))

    message = crf.smoothness_message(q, 1.5)
    np.testing.assert_allclose(message, by_double_loop(q, weight), atol=1e-3)


def test_a_very_large_image_has_fewer_anchors(monkeypatch):
    monkeypatch.setattr(crf, "MOST_WEIGHTS", 63 * 20)
    kernel, grid = crf.appearance_kernel(IMAGE, 30.0, 20.0, anchors=63)
    assert kernel.shape == (63, len(grid)) and 10 < len(grid) <= 20
    assert np.array_equal(np.unravel_index(grid, (7, 9))[0][:5], [0] * 5)


def scene():
    """Return an image of a disk, its labels, and logits in coarse blocks."""
    y, x = np.mgrid[:80, :104]
    labels = ((y - 40) ** 2 + (x - 52) ** 2 < 25**2).astype(int)
    image = np.where(labels[..., None], (200, 120, 60), (60, 90, 140))
    image = np.clip(image + RNG.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
    coarse = (labels[4::8, 4::8] * 2 - 1).astype(float)
    fine = np.kron(coarse, np.ones((8, 8)))
    return image, labels, np.dstack([-fine, fine]).astype(np.float32)


def test_a_boundary_of_blocks_moves_to_the_edge_of_the_image():
    image, labels, logits = scene()
    before = np.mean(logits.argmax(-1) == labels)
    after = np.mean(crf.refine(logits, image).argmax(-1) == labels)
    assert before < 0.98 and after > 0.995


def test_few_anchors_are_nearly_as_good_as_all():
    image, _, logits = scene()
    exact = crf.refine(logits, image, anchors=80 * 104).argmax(-1)
    sampled = crf.refine(logits, image, anchors=500).argmax(-1)
    assert np.mean(exact == sampled) > 0.99


def test_probabilities_and_bad_input():
    probabilities = crf.refine(LOGITS, IMAGE)
    assert probabilities.shape == LOGITS.shape
    np.testing.assert_allclose(probabilities.sum(-1), 1, rtol=1e-5)
    still = crf.refine(LOGITS, IMAGE, appearance=0, smoothness=0)
    np.testing.assert_allclose(still, crf.softmax(LOGITS), atol=1e-6)
    for strange in (np.nan, np.inf, -np.inf):
        with pytest.raises(InputError, match="must be finite numbers"):
            crf.refine(np.full_like(LOGITS, strange), IMAGE)
    with pytest.raises(InputError, match="no class is 1% likely anywhere"):
        crf.refine(np.zeros((7, 9, 150)), IMAGE)
    with pytest.raises(InputError, match="must cover the same pixels"):
        crf.refine(LOGITS, IMAGE[:5])
    with pytest.raises(InputError, match="must be positive"):
        crf.refine(LOGITS, IMAGE, position_sigma=0)
