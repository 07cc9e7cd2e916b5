"""Records and the input pipeline: samples come back as they were, in order, augmented together."""

import io

import numpy as np
import pytest
from PIL import Image

from tutorial_lib.data import images, pipeline, records
from tutorial_lib.data.images import Sample
from tutorial_lib.errors import InputError


def some_samples(count=7):
    rng = np.random.default_rng(0)
    for number in range(count):
        size = (20 + number, 30)
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        yield Sample(f"sample-{number}", image, rng.choice([0, 1, 255], size).astype(np.uint8))


def test_records_give_back_what_was_written(tmp_path):
    assert records.write_records(some_samples(), tmp_path, shards=3) == 7
    assert records.count(tmp_path) == 7
    originals = {sample.id: sample for sample in some_samples()}
    for record in records.read_records(tmp_path):
        original = originals.pop(record["id"].numpy().decode())
        assert np.array_equal(record["labels"], original.labels)
        assert record["image"].shape == original.image.shape
        assert np.abs(record["image"].numpy().astype(int) - original.image).mean() < 12
    assert not originals


@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}, {"progressive": True}])
def test_a_jpeg_is_stored_as_it_is(tmp_path, options):
    path = tmp_path / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (200, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, comment=b"\xff\xd5 is no marker here", **options)
    sample = Sample("a", images.read_photograph(path), np.zeros((200, 90), np.uint8), path)
    assert records.jpeg_bytes(sample) == path.read_bytes()


def test_a_photograph_that_must_be_turned_is_encoded_upright(tmp_path):
    exif, path = Image.Exif(), tmp_path / "a.jpg"
    exif[0x0112] = 6
    Image.new("RGB", (30, 20), (200, 30, 60)).save(path, exif=exif)
    sample = Sample("a", images.read_photograph(path), np.zeros((30, 20), np.uint8), path)
    assert records.decode_jpeg(records.jpeg_bytes(sample)).shape == (30, 20, 3)
    with Image.open(io.BytesIO(records.jpeg_bytes(sample))) as stored:
        assert stored.size == (20, 30) and not stored.getexif()


def test_a_jpeg_with_a_damaged_end_can_be_decoded(tmp_path):
    path = tmp_path / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    path.write_bytes(content[:-6] + b"\xff\xfe\xff\x00" + content[-2:])  # leads beyond the end
    sample = Sample("a", images.read_photograph(path), noise, path)
    decoded = records.decode_jpeg(records.jpeg_bytes(sample)).numpy()
    assert np.abs(decoded.astype(int) - sample.image).mean() < 3


def labeled(number, *classes):
    labels = np.zeros((30, 30), np.uint8)
    for row, label in enumerate(classes):
        labels[row * 5 : row * 5 + 3] = label
    return Sample(str(number), np.zeros((30, 30, 3), np.uint8), labels)


def test_rare_classes_are_drawn_more_often(tmp_path):
    samples = [labeled(n, 8) for n in range(6)] + [labeled(6, 8, 10), labeled(7, 10)]
    records.write_records(samples, tmp_path, shards=1)
    weights = pipeline.sampling_weights(pipeline.class_pixels(tmp_path))
    np.testing.assert_allclose(weights, [8 / 7] * 6 + [4, 4])

    def draw(seed, weights):
        repeats = pipeline.draw_repeats(weights, seed)
        drawn = records.read_records(tmp_path, seed, repeats)
        return np.bincount([int(r["id"].numpy()) for r in drawn], minlength=8)

    share = weights / weights.sum() * 8
    times = np.array([draw(seed, weights) for seed in range(40)])
    assert (times.sum(axis=1) == 8).all() and (np.abs(times - share) < 1).all()
    np.testing.assert_allclose(times.mean(axis=0), share, atol=0.25)
    assert draw(1, np.ones(8)).tolist() == [1] * 8
    assert draw(1, [0, 0, 0, 0, 0, 0, 0, 3]).tolist() == [0] * 7 + [8]
    crops = pipeline.crop_batches(
        tmp_path, 30, 8, seed=0, scales=(1, 1), weights=weights**2, epochs=(0, 5)
    )
    labels = np.concatenate([y for _, y in crops.as_numpy_iterator()])
    assert len(labels) == 40 and np.mean((labels == 10).any(axis=(1, 2))) > 0.7


def test_pixels_of_frequent_classes_are_subsampled(tmp_path):
    records.write_records([labeled(n, 8, 8, 10, 255) for n in range(8)], tmp_path)
    pixels = pipeline.class_pixels(tmp_path)
    assert pixels.shape == (8, 256) and pixels[3, [0, 8, 10, 255]].tolist() == [540, 180, 90, 90]
    keep = pipeline.keep_probabilities(pixels, 0.5)
    np.testing.assert_allclose(keep[[0, 8, 10, 11, 255]], [6**-0.5, 2**-0.5, 1, 1, 1])
    assert (pipeline.keep_probabilities(pixels, 0) == 1).all()
    cut = {"size": 24, "batch_size": 8, "seed": 0, "epochs": (0, 1)}
    ((images, whole),) = pipeline.crop_batches(tmp_path, **cut)
    ((same, thin),) = pipeline.crop_batches(tmp_path, **cut, keep=keep)
    whole, thin = whole.numpy(), thin.numpy()
    assert np.array_equal(images, same) and set(np.unique(thin[whole != thin])) == {255}
    for label in (0, 8, 10):
        assert abs(np.mean(thin[whole == label] == label) - keep[label]) < 0.06


def test_image_and_labels_of_a_crop_stay_together(tmp_path):
    # The image shows its own labels in red, so every geometric step can be checked by itself.
    def samples():
        for number, sample in enumerate(some_samples()):
            labels = np.zeros((40, 60), np.uint8)
            labels[5 + number : 25, 8:30] = 1
            yield Sample(sample.id, np.stack([labels * 255] * 3, axis=-1), labels)

    records.write_records(samples(), tmp_path)
    ((inputs, labels),) = pipeline.crop_batches(
        tmp_path, 40, 7, seed=0, epochs=(0, 1)
    ).as_numpy_iterator()
    for image, label in zip(inputs.mean(axis=-1), labels, strict=True):
        inside, outside = image[label == 1], image[label == 0]
        assert inside.mean() > outside.mean() + 0.8
        # Only where an edge is blurred may the two disagree.
        threshold = (image.max() + image.min()) / 2
        assert np.mean((image > threshold)[label < 2] == label[label < 2]) > 0.95
    assert set(np.unique(labels)) <= {0, 1, 255}


def test_reflection_padding():
    line = np.arange(4.0)[:, None, None] * np.ones((1, 4, 1))
    padded = pipeline.reflection_crop(line, -4, -4, 12).numpy()[:, 0, 0]
    assert padded.tolist() == [2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]


def test_cached_records_follow_their_sources(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTORIAL_DATA", str(tmp_path))
    source = tmp_path / "source"
    source.write_text("one")
    made = []

    def samples():
        made.append(1)
        return some_samples(2)

    first = records.cached_records("x", [source], samples)
    assert records.cached_records("x", [source], samples) == first and len(made) == 1
    source.write_text("another")
    assert records.cached_records("x", [source], samples) != first and len(made) == 2
    with pytest.raises(InputError, match="gone is missing"):
        records.cached_records("x", [tmp_path / "gone"], samples)


def test_a_bad_sample_leaves_no_half_made_records(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTORIAL_DATA", str(tmp_path))

    def samples():
        yield from some_samples(1)
        raise InputError("the second is damaged")

    with pytest.raises(InputError, match="damaged"):
        records.cached_records("x", [], samples)
    assert not list((tmp_path / "cache").iterdir())
