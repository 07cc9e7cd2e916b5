"""The fully connected CRF: against a double loop, and for what it is good for."""

import numpy as np
import pytest

from tutorial_lib import crf
from tutorial_lib.errors import InputError

RNG = np.random.default_rng(0)
IMAGE = RNG.integers(0, 256, (7, 9, 3), dtype=np.uint8)
LOGITS = RNG.normal(size=(7, 9, 4)).astype(np.float32)


def by_double_loop(beliefs, weight):
    """Return the weighted mean of all other pixels' beliefs, pair by pair."""
    message = np.zeros_like(beliefs, dtype=float)
    places = list(np.ndindex(beliefs.shape[:2]))
    for here in places:
        weights = [0.0 if there == here else weight(here, there) for there in places]
        values = [beliefs[there] for there in places]
        message[here] = np.average(values, axis=0, weights=weights)
    return message


def test_with_an_anchor_at_every_pixel_it_is_the_exact_sum():
    beliefs = crf.softmax(LOGITS)
    features = crf._features(IMAGE, 3.0, 90.0)

    def weight(here, there):
        place = sum((a - b) ** 2 for a, b in zip(here, there, strict=True)) / 3.0**2
        color = ((IMAGE[here].astype(float) - IMAGE[there]) ** 2).sum() / 90.0**2
        return np.exp(-(place + color) / 2)

    grid = crf.anchor_grid(IMAGE.shape[:2], 7 * 9)
    message = crf.appearance_message(beliefs, features, grid)
    np.testing.assert_allclose(message, by_double_loop(beliefs, weight), atol=1e-5)


def test_the_smoothness_kernel_is_the_sum_over_pairs():
    beliefs = crf.softmax(LOGITS)

    def weight(here, there):
        return np.exp(-sum((a - b) ** 2 for a, b in zip(here, there, strict=True)) / (2 * 1.5**2))

    message = crf.smoothness_message(beliefs, 1.5)
    np.testing.assert_allclose(message, by_double_loop(beliefs, weight), atol=1e-3)


def test_chunks_do_not_matter(monkeypatch):
    whole = crf.refine(LOGITS, IMAGE, anchors=63)
    monkeypatch.setattr(crf, "CHUNK", 100)
    np.testing.assert_allclose(crf.refine(LOGITS, IMAGE, anchors=63), whole, atol=1e-4)
    monkeypatch.setattr(crf, "KEPT", 0)
    np.testing.assert_allclose(crf.refine(LOGITS, IMAGE, anchors=63), whole, atol=1e-4)


def scene():
    """Return a picture of a disk, its labels, and the scores of a net that blurs."""
    y, x = np.mgrid[:80, :104]
    labels = ((y - 40) ** 2 + (x - 52) ** 2 < 25**2).astype(int)
    image = np.where(labels[..., None], (200, 120, 60), (60, 90, 140))
    image = np.clip(image + RNG.normal(0, 8, image.shape), 0, 255).astype(np.uint8)
    coarse = (labels[4::8, 4::8] * 2 - 1).astype(float)
    fine = np.kron(coarse, np.ones((8, 8)))
    return image, labels, np.dstack([-fine, fine]).astype(np.float32)


def test_blocks_become_an_outline_that_follows_the_colors():
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
    beliefs = crf.refine(LOGITS, IMAGE)
    assert beliefs.shape == LOGITS.shape
    np.testing.assert_allclose(beliefs.sum(-1), 1, rtol=1e-5)
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
        crf.refine(LOGITS, IMAGE, reach=0)
