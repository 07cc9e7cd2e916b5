"""The confusion matrix: by hand, against scikit-learn, and where nothing is to be counted."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from tutorial_lib.errors import InputError
from tutorial_lib.metrics import ConfusionMatrix, boundary_band, boundary_distance


def test_by_hand():
    matrix = ConfusionMatrix(3)
    matrix.counts[:] = [[50, 5, 5], [10, 20, 0], [0, 0, 10]]
    np.testing.assert_allclose(matrix.iou(), [50 / 70, 20 / 35, 10 / 15])
    assert np.isclose(matrix.mean_iou(), np.mean([50 / 70, 20 / 35, 10 / 15]))
    assert np.isclose(matrix.pixel_accuracy(), 0.8)
    assert np.isclose(matrix.mean_accuracy(), np.mean([50 / 60, 20 / 30, 1]))
    expected = 0.6 * 50 / 70 + 0.3 * 20 / 35 + 0.1 * 10 / 15
    assert np.isclose(matrix.frequency_weighted_iou(), expected)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 6))
def test_equal_to_scikit_learn(seed, classes):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, (3, 5, 7)).astype(np.uint8)
    labels[rng.random(labels.shape) < 0.2] = 255
    guesses = rng.integers(0, classes, labels.shape)
    matrix = ConfusionMatrix(classes)
    for label, guess in zip(labels, guesses, strict=True):
        matrix.update(label, guess)
    seen = labels != 255
    truth, guess = labels[seen], guesses[seen]
    expected = reference.confusion_matrix(truth, guess, labels=range(classes))
    assert np.array_equal(matrix.counts, expected)
    np.testing.assert_allclose(np.nansum(matrix.row_normalized(), axis=1), expected.any(axis=1))
    present = [c for c in range(classes) if expected[c].any() or expected[:, c].any()]
    jaccard = reference.jaccard_score(truth, guess, labels=present, average=None)
    np.testing.assert_allclose(matrix.iou()[present], jaccard)
    assert np.isclose(matrix.mean_iou(), jaccard.mean())
    assert np.isclose(matrix.pixel_accuracy(), reference.accuracy_score(truth, guess))


def test_absent_classes_count_nowhere():
    matrix = ConfusionMatrix(4).update(np.array([0, 1, 1, 255]), np.array([0, 1, 2, 3]))
    iou = matrix.iou()
    assert iou[0] == 1 and iou[1] == 0.5 and iou[2] == 0 and np.isnan(iou[3])
    assert matrix.mean_iou() == 0.5 and matrix.mean_accuracy() == 0.75
    assert np.isnan(ConfusionMatrix(3).mean_iou()) and np.isnan(ConfusionMatrix(3).pixel_accuracy())


def test_void_alone_has_no_score():
    void = np.full((2, 2), 255, np.uint8)
    matrix = ConfusionMatrix(3).update(void, np.zeros((2, 2), np.uint8))
    scores = (
        matrix.mean_iou(), matrix.pixel_accuracy(), matrix.mean_accuracy(),
        matrix.frequency_weighted_iou(),
    )  # fmt: skip
    assert np.isnan(scores).all()


def test_all_background():
    matrix = ConfusionMatrix(3).update(np.array([0, 0, 0, 1]), np.array([1, 1, 1, 1]))
    baseline = matrix.background_baseline()
    assert baseline.pixel_accuracy() == 0.75
    np.testing.assert_allclose(baseline.iou()[:2], [0.75, 0])


@pytest.mark.parametrize(
    ("labels", "guesses", "message"),
    [
        ([0, 1], [0], "must have one shape"),
        ([0, 9], [0, 0], "labels must lie between 0 and 2"),
        ([0, 1], [0, 3], "predictions must lie between 0 and 2"),
        ([0, 1], [0, -1], "predictions must lie between 0 and 2"),
    ],
)
def test_bad_input_says_why(labels, guesses, message):
    with pytest.raises(InputError, match=message):
        ConfusionMatrix(3).update(np.array(labels), np.array(guesses))


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, np.uint32])
@pytest.mark.parametrize("ignore", [255, 0, None])
def test_every_whole_number_type_counts_alike(dtype, ignore):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (6, 9))
    if ignore == 255:
        labels[::2, ::3] = 255
    guesses = rng.integers(0, 4, labels.shape)
    expected = np.zeros((4, 4), int)
    for label, guess in zip(labels.ravel(), guesses.ravel(), strict=True):
        if label != ignore:
            expected[label, guess] += 1
    matrix = ConfusionMatrix(4, ignore).update(labels.astype(dtype), guesses.astype(dtype))
    assert np.array_equal(matrix.counts, expected)


def test_a_negative_void_label_and_fractions():
    matrix = ConfusionMatrix(2, ignore=-1).update(np.array([-1, 0, 1]), np.array([0, 0, 0]))
    assert matrix.counts.tolist() == [[1, 0], [1, 0]]
    with pytest.raises(InputError, match="whole numbers"):
        ConfusionMatrix(2).update(np.array([0.5]), np.array([1]))
    with pytest.raises(InputError, match="labels must lie"):
        ConfusionMatrix(2, ignore=None).update(np.array([255], np.uint8), np.array([1]))
    with pytest.raises(InputError, match="classes=300"):
        ConfusionMatrix(300)


def test_the_band_around_outlines():
    labels = np.zeros((9, 20), np.uint8)
    labels[:, 10:] = 3  # two classes that touch, and a void pixel far away
    labels[4, 2] = 255
    band = boundary_band(labels, 2)
    assert np.flatnonzero(band[0]).tolist() == [7, 8, 9, 10, 11, 12]
    assert band[4, :5].all() and not band[4, 5]
    assert boundary_distance(labels)[0, 5:12].tolist() == [4, 3, 2, 1, 0, 0, 1]
    assert not boundary_band(np.zeros((4, 5), np.uint8), 3).any()


def test_a_blurred_outline_costs_more_on_the_band():
    y, x = np.mgrid[:60, :60]
    labels = ((y - 30) ** 2 + (x - 30) ** 2 < 400).astype(np.uint8)
    guesses = ((y - 30) ** 2 + (x - 30) ** 2 < 484).astype(np.uint8)
    scores = [ConfusionMatrix(2).update(labels, guesses).mean_iou()]
    for width in (10, 4):
        trimap = np.where(boundary_band(labels, width), labels, 255)
        scores.append(ConfusionMatrix(2).update(trimap, guesses).mean_iou())
    assert scores[0] > scores[1] > scores[2]
