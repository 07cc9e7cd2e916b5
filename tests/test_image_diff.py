"""When two images count as equal, and how a figure is described in words."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from tutorial_lib.figures import plotting
from tutorial_lib.figures.fingerprint import describe
from tutorial_tools import image_diff
from tutorial_tools.image_diff import OutputImage, compare_images


@pytest.fixture
def evidence(tmp_path):
    return lambda number: tmp_path / f"evidence-{number}.png"


def plain(value=0, shape=(48, 48)):
    return OutputImage(np.full((*shape, 3), value, np.uint8), alt="a")


@pytest.fixture
def drawn(monkeypatch):
    """Return a function that draws a small figure and returns what the check sees of it."""
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)

    def draw(x="years", last=2.0, width=2.0, color="#3B7DD8"):
        fig, ax = plotting.figure(title="A line", size=(3, 2))
        ax.plot([0, 1, 2], [0, 1, last], lw=width, color=color)
        ax.set_xlabel(x)
        plotting.show(fig, alt="A line that rises to the right.")
        png, known = shown.pop()._repr_png_()
        data, metadata = {"image/png": png}, {"image/png": known}
        (found,) = image_diff.output_images([{"data": data, "metadata": metadata}])
        return found

    return draw


def test_equal_images_pass(evidence):
    assert compare_images([plain()], [plain()], None, evidence) == []


def test_a_changed_image_fails_and_leaves_both_and_their_difference(evidence):
    changed = plain().pixels.copy()
    changed[10:20, 10:20] = 255
    problems = compare_images([plain()], [replace(plain(), pixels=changed)], None, evidence)
    assert len(problems) == 1 and "image 0: differs by" in problems[0]
    assert str(evidence(0)) in problems[0]
    side_by_side = np.asarray(Image.open(evidence(0)))
    assert side_by_side.shape == (48, 144, 3)
    assert np.array_equal(side_by_side[:, :48], plain().pixels)
    assert np.array_equal(side_by_side[:, 48:96], changed)
    assert side_by_side[0, 96, 0] == 255 and side_by_side[10, 106, 0] == 0


@pytest.mark.parametrize("share", [None, 0.8])
def test_alt_text_size_width_and_number_count_exactly(evidence, share):
    def complaint(new):
        return compare_images([plain()], [new], share, evidence)[0]

    assert "alt text was 'a', now 'b'" in complaint(replace(plain(), alt="b"))
    assert "shown 0 wide before, now 9" in complaint(replace(plain(), width=9))
    assert "size was 48×48, now 47×48" in complaint(plain(0, (48, 47)))
    assert np.asarray(Image.open(evidence(0))).shape == (48, 144, 3)
    assert compare_images([plain()], [], share, evidence) == ["expected 1 images, got 0"]


def test_one_wrong_letter_in_a_large_image_is_seen(evidence):
    page = np.full((1200, 1200, 3), 255, np.uint8)
    letter = page.copy()
    letter[600:612, 600:602] = 0
    assert image_diff.pixel_distance(page, letter) < image_diff.TOLERANCE
    old, new = OutputImage(page), OutputImage(letter)
    (problem,) = compare_images([old], [new], None, evidence)
    assert "in one place" in problem


def test_a_line_may_move_by_a_pixel_and_its_edge_may_be_smoothed_otherwise(evidence):
    page = np.full((600, 600, 3), 255, np.uint8)
    page[300:303, 100:500] = 0
    moved, smoothed = np.roll(page, 1, axis=0), page.copy()
    smoothed[299, 100:500] = 235
    assert image_diff.local_distance(page, moved) < 1
    assert image_diff.local_distance(page, smoothed) < image_diff.LOCAL_TOLERANCE


def test_figures_of_trained_networks_may_differ_in_detail_but_not_in_substance(evidence):
    rng = np.random.default_rng(0)
    scene = np.kron(rng.integers(0, 256, (6, 6, 3)), np.ones((24, 24, 1))).astype(np.uint8)
    shifted, old = np.roll(scene, 5, axis=1), [OutputImage(scene)]

    def problems(pixels, share):
        return compare_images(old, [OutputImage(pixels)], share, evidence)

    assert problems(shifted, 0.8) == []
    assert problems(shifted, 0.1)
    assert problems(shifted, None)
    assert problems(np.full_like(scene, 255), 0.8)
    assert problems(scene[::-1], 0.8)


def test_a_color_that_comes_or_goes_is_seen_wherever_it_is(evidence):
    gray = np.full((100, 100, 3), 128, np.uint8)
    mask = np.zeros((100, 100))
    mask[10:40, 10:40] = 1
    blue, orange = (plotting.overlay(gray, mask, color) for color in ("#3B7DD8", "#E8743B"))
    elsewhere = plotting.overlay(gray, mask.T[::-1, ::-1], "#4B8DD8")

    def problems(old, new, **options):
        return compare_images([OutputImage(old)], [OutputImage(new)], 5.0, evidence, **options)

    assert problems(blue, elsewhere) == []
    (gone, new) = problems(blue, orange)
    assert "image 0: the color #5a7eb0 has disappeared" in gone
    assert "image 0: the color #b9795a has appeared" in new
    assert problems(blue, orange, colors_vary=True) == []
    (gone,) = problems(blue, gray)
    assert "disappeared" in gone
    few = np.where(np.arange(100)[:, None, None] < 11, blue, gray)  # 0.3 % of the pixels are blue
    assert problems(gray, few) == []


@pytest.mark.parametrize(
    ("change", "was", "now"),
    [
        ({"x": "yeart"}, "1 x: years", "1 x: yeart"),
        ({"width": 2.5}, "#3b7dd8ff - 2,", "#3b7dd8ff - 2.5,"),
        ({"color": "#E8743B"}, "line #3b7dd8ff", "line #e8743bff"),
    ],
)
def test_what_is_written_and_how_it_is_drawn_counts_even_for_trained_networks(
    evidence, drawn, change, was, now
):
    problem, *_ = compare_images([drawn()], [drawn(**change)], 0.8, evidence)
    assert was in problem.split("now")[0] and now in problem


def test_data_are_not_in_the_description_and_old_images_have_none(evidence, drawn):
    assert drawn().drawn == drawn(last=1.9).drawn
    assert compare_images([replace(drawn(), drawn=None)], [drawn()], None, evidence) == []


def test_a_figure_in_words():
    fig, (left, right) = plotting.figure(1, 2, title="Two")
    left.set(title="bars", ylim=(0, 1), xlabel="x", yscale="linear")
    left.bar([0, 1], [0.5, 0.7], color=plotting.PALETTE["output"])
    left.set_xticks([0, 1], ["cat", "dog"])
    left.scatter([0.1, 0.2], [0.3, 0.31234], color="k", label="points")
    left.legend(frameon=True)
    right.imshow(np.zeros((4, 6)), cmap="viridis", vmin=0, vmax=1)
    right.text(0, 0, "here")
    assert describe(fig) == [
        "figure: Two",
        "1 title center: bars",
        "1 x: x",
        "1 legend: points",
        "1 legend in a frame",
        "1 x ticks: cat dog",
        "1 y limits: 0 1",
        "1 PathCollection #000000ff #000000ff 1",
        "1 Rectangle #2ba58cff #00000000 solid 1",
        "2 text: here",
        "2 image 6×4, auto, viridis from: 0 1",
    ]
