"""A kernel that slides, its drawings, and the player and sliders around them."""

import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image, ImageSequence

from tutorial_lib import convolution as conv
from tutorial_lib.errors import InputError
from tutorial_lib.figures import animation, player, plotting, widgets
from tutorial_tools import canonical, image_diff

X = np.array([[2, 0, 1, 3, 1], [1, 4, 0, 2, 0], [0, 1, 3, 1, 2], [3, 0, 2, 0, 1], [1, 2, 0, 1, 4]])
W = np.array([[1, 0, 2], [0, 1, 0], [3, 1, 0]])
small = st.integers(1, 3)
many = settings(max_examples=60, deadline=None)


def draw_step(sliding, step):
    """Return a figure of one step."""
    fig = Figure(figsize=(6, 4), dpi=plotting.DPI)
    animation.SlideView(fig.add_axes((0, 0, 1, 1)), sliding).show_step(step)
    return fig


def drawn(sliding):
    """Compute the output from what is read and written alone."""
    y = np.zeros((sliding.output,) * 2)
    for reads, writes in zip(sliding.reads, sliding.writes, strict=True):
        y[tuple(writes.T)] += sliding.values[tuple(reads.T)] @ sliding.weights
    return y


@many
@given(st.integers(1, 6), small, small, st.integers(0, 2), small, st.integers(0, 99))
def test_what_is_drawn_is_the_convolution(i, k, s, p, d, seed):
    rng = np.random.default_rng(seed)
    x, w = rng.integers(0, 9, (i, i)), rng.integers(0, 9, (k, k))
    try:
        expected = conv.conv2d(x[None, ..., None], w[..., None, None], s, p, d)[0, ..., 0]
    except InputError:
        with pytest.raises(InputError):
            animation.slide(x, w, s, p, d)
        return
    sliding = animation.slide(x, w, s, p, d)
    np.testing.assert_array_equal(drawn(sliding), expected)
    np.testing.assert_array_equal(sliding.results[-1], expected)
    assert sliding.pixels.sum() == i * i and not np.any(sliding.values[~sliding.pixels])
    side = i + 2 * p
    zeros = f", with zeros {side}×{side}" if p else ""
    assert sliding.labels[0] == f"input {i}×{i}{zeros}"


@many
@given(st.integers(1, 4), small, small, st.integers(0, 2), small, st.integers(0, 2), st.data())
def test_both_views_of_a_transposed_convolution_end_in_its_numbers(i, k, s, p, d, extra, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x, w = rng.integers(0, 9, (i, i)), rng.integers(0, 9, (k, k))
    arguments = (s, p, d, extra)
    try:
        stamping = animation.stamping_slide(x, w, *arguments)
        sliding = animation.transposed_slide(x, w, *arguments)
    except InputError:
        return
    expected = conv.conv2d_transpose(x[None, ..., None], w[..., None, None], *arguments)
    expected = expected[0, ..., 0]
    np.testing.assert_array_equal(drawn(sliding), expected)
    np.testing.assert_array_equal(sliding.results[-1], expected)
    np.testing.assert_array_equal(np.nan_to_num(stamping.results[-1]), expected)
    assert all(stamping.caption(step).startswith("input (") for step in range(i * i))


def test_output_fills_up_step_by_step():
    outputs = animation.slide(X, W).results
    assert [np.count_nonzero(~np.isnan(y)) for y in outputs] == list(range(1, 10))
    stamping = animation.stamping_slide(X[:2, :2], W, s=2).results
    assert [np.count_nonzero(~np.isnan(y)) for y in stamping] == [9, 15, 21, 25]


def test_captions_tell_the_arithmetic():
    assert animation.slide(5, 3).caption(3) == "output (1, 0)"
    first = animation.slide(X, W).caption(0)
    assert first == "output (0, 0) = 2·1 + 0·0 + 1·2 + 1·0 + 4·1 + 0·0 + 0·3 + 1·1 + 3·0 = 9"
    assert animation.stamping_slide(2, 3, s=2).caption(1) == "input (0, 1) stamps the kernel"
    stamping = animation.stamping_slide(X[:2, :2], W, s=2)
    assert stamping.caption(0) == "input (0, 0) stamps 2 × kernel"


@pytest.mark.parametrize(("i", "k", "s", "p"), [(3, 1, 1, 1), (2, 3, 2, 2), (2, 3, 2, 0)])
def test_stamps_may_be_cut_off_in_part_or_as_a_whole(i, k, s, p):
    sliding = animation.stamping_slide(i, k, s, p)
    for step in range(len(sliding)):
        draw_step(sliding, step)


def test_the_size_of_the_output_is_not_shown_before_the_last_step():
    sliding = animation.slide(6, 3, s=2)
    for step, label in [(0, "output"), (2, "output"), (3, "output 2×2")]:
        ax = draw_step(sliding, step).axes[0]
        assert ax.texts[1].get_text() == label
        visible = ax.collections[1].get_edgecolor()[:, 3]
        assert visible.tolist() == [1.0] * (step + 1) + [0.0] * (3 - step)
    strip = animation.film_strip(sliding, "A title")
    assert not any("2×2" in text.get_text() for ax in strip.axes for text in ax.texts)


def test_stamping_shows_the_kernel_and_what_a_step_adds():
    fig = draw_step(animation.stamping_slide([[1, 2], [3, 4]], [[5, 6], [7, 8]]), step=1)
    texts = [text.get_text() for text in fig.axes[0].texts]
    assert {"kernel", "+10", "+12", "+14", "+16"} <= set(texts)
    assert "16" in texts  # 1·6 + 2·5, where the second stamp overlaps the first


def test_the_description_names_the_geometry():
    assert animation.slide(5, 3, s=2, p=1).description == (
        "A kernel of 3×3 slides over an input of 5×5, padded by 1, with stride 2; at each position "
        "it gives one value of the output."
    )
    larger = animation.transposed_slide(2, 3, s=2, output_padding=1).description
    assert "padded by 2 above and left and by 3 below and right, with stride 1" in larger
    transposed = animation.transposed_slide(2, 3, s=2).description
    assert "of 2×2 with a zero between neighbors, padded by 2, with stride 1" in transposed
    assert "a kernel of 3×3 with dilation 2 onto" in animation.stamping_slide(2, 3, d=2).description


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: animation.slide(3, 5), "does not fit into 3 pixels, padding included"),
        (lambda: animation.slide(X, 3), "numbers for both"),
        (lambda: animation.slide(np.ones((2, 3)), W), r"a square array, got the shape \(2, 3\)"),
        (lambda: animation.slide(5, 3, p=-1), "p=-1 is impossible"),
        (lambda: animation.transposed_slide(4, 2, p=2), "use at most d (k - 1) = 1"),
        (lambda: animation.transposed_slide(3, 3, s=2, output_padding=2), "between 0 and s - 1"),
        (lambda: animation.slide(10**6, 3), "cells cannot be drawn, at most 64×64"),
        (lambda: animation.slide(5, 3, p=10**5), "use a smaller input, kernel or padding"),
        (lambda: animation.stamping_slide(60, 3, s=9), "cannot be drawn"),
        (lambda: animation.transposed_slide(60, 3, s=9), "cannot be drawn"),
        (lambda: animation.slide(np.ones((30, 30)), W), "at most 400 steps, and this one would"),
        (lambda: animation.play(animation.slide(30, 3), title="Long"), "would have 784"),
    ],
)
def test_what_cannot_be_drawn_says_why(call, message):
    with pytest.raises(InputError, match=message if "\\" in message else re.escape(message)):
        call()


def color_at(fig, cell):
    """Return the color in a corner of a cell, (x, y) in cells from the axes' origin."""
    pixels = np.asarray(Image.open(io.BytesIO(plotting.to_png(fig))).convert("RGB"))
    x, y = fig.axes[0].transData.transform((cell[0] + 0.2, cell[1] + 0.2))
    return pixels[round(pixels.shape[0] - y), round(x)] / 255


def test_colors_of_input_kernel_zeros_and_output():
    fig = draw_step(animation.slide(4, 3, p=1), step=0)
    blue, green = to_rgb(plotting.PALETTE["input"]), to_rgb(plotting.PALETTE["output"])
    np.testing.assert_allclose(color_at(fig, (4, 4)), blue, atol=0.01)  # a pixel
    np.testing.assert_allclose(color_at(fig, (5, 5)), 1, atol=0.01)  # a zero
    assert np.all(color_at(fig, (1, 1)) < np.array(blue) + 0.01)  # a pixel under the kernel
    assert np.all(color_at(fig, (0, 0)) < 0.7)  # a zero under the kernel
    left = 6 + animation.GAP
    fig = draw_step(animation.slide(4, 3, p=1), step=3)
    np.testing.assert_allclose(color_at(fig, (left, 1)), green, atol=0.01)  # done
    np.testing.assert_allclose(color_at(fig, (left, 2)), 1, atol=0.01)  # still to come
    fig = draw_step(animation.transposed_slide(2, 2, s=2), step=0)
    np.testing.assert_allclose(color_at(fig, (2, 2)), to_rgb(animation.INSERTED), atol=0.01)


@pytest.mark.parametrize(
    ("sliding", "message"),
    [
        (animation.slide(30, 3), "at most 400 steps, and this one would have 784"),
        (animation.stamping_slide(20, 3, s=3), "160 million pixels, and 400 frames of 892×667"),
    ],
)
def test_no_gif_without_a_bound(sliding, message, tmp_path):
    with pytest.raises(InputError, match=message):
        animation.save_gif(sliding, tmp_path / "long.gif")
    assert not list(tmp_path.iterdir())


def test_a_gif_has_a_frame_for_each_step_and_plays_twice(tmp_path):
    path = tmp_path / "new" / "slide.gif"
    animation.save_gif(animation.slide(5, 3), path)
    with Image.open(path) as gif:
        assert (gif.format, gif.n_frames, gif.info["loop"]) == ("GIF", 9, 1)
    assert [file.name for file in path.parent.iterdir()] == ["slide.gif"]


OPENING = {  # the animations that open notebooks 01 and 02, and the README
    "01.gif": animation.slide(X, np.array([[0, 1, 2], [1, 0, 0], [3, 0, 1]])),
    "02.gif": animation.stamping_slide(
        np.array([[2, 1], [1, 3]]), np.array([[1, 0, 1], [0, 2, 0], [1, 0, 1]]), s=2
    ),
}


@pytest.mark.parametrize("name", OPENING)
def test_the_opening_animations_are_what_the_library_draws(name, tmp_path):
    animation.save_gif(OPENING[name], tmp_path / name)
    stored = Path(__file__).parents[1] / "docs" / "images" / name
    for old, new in zip(frames(stored), frames(tmp_path / name), strict=True):
        assert image_diff.pixel_distance(old, new) < image_diff.TOLERANCE, f"save {name} again"


def frames(path):
    with Image.open(path) as gif:
        return [np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(gif)]


def shown(monkeypatch, show):
    """Return what `show()` displays: the bundle and its metadata."""
    caught = []
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: caught.append((a[0], k)))
    show()
    return caught[0][0], caught[0][1]["metadata"]


def test_the_player_is_whole_in_itself(monkeypatch):
    sliding = animation.slide(X, W)
    bundle, metadata = shown(monkeypatch, lambda: animation.play(sliding, title="a < b & c"))
    page = bundle["text/html"]
    assert "http" not in page and "$" not in page
    assert "a &lt; b &amp; c" in page
    captions = json.loads(re.search(r'"application/json">(.*?)</script>', page)[1])
    assert captions == [sliding.caption(step) for step in range(9)]
    alts = re.findall(r'(?:alt|aria-label)="(Animation: [^"]+)"', page)
    assert len(alts) == 2 and set(alts) == {metadata["image/png"]["alt"]}
    strip, reel = (
        Image.open(io.BytesIO(base64.b64decode(data)))
        for data in re.findall(r"base64,([A-Za-z0-9+/=]+)", page)
    )
    assert strip.width > reel.height and reel.width % 9 == 0
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")


def test_many_frames_keep_their_order_and_make_a_reel_that_browsers_can_draw(monkeypatch):
    frames = [np.full((10, 500, 3), 6 * n, np.uint8) for n in range(40)]
    strip, _ = plotting.figure(title="A title")
    bundle, _ = shown(
        monkeypatch,
        lambda: player.show_frames(
            frames,
            [str(n) for n in range(40)],
            strip,
            title="A title",
            alt="Forty frames, ever brighter.",
        ),
    )
    encoded = re.findall(r"base64,([A-Za-z0-9+/=]+)", bundle["text/html"])[-1]
    reel = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("L")).astype(int)
    assert reel.shape == (30, 8000) and reel.shape[1] <= player.MAX_REEL_WIDTH
    grays = reel[::10, ::500].ravel()[:40]
    assert np.abs(grays - 6 * np.arange(40)).max() <= 6


def test_the_same_player_twice_is_the_same_text(monkeypatch):
    pages = [
        shown(monkeypatch, lambda: animation.play(animation.slide(4, 2), title="A title"))
        for _ in range(2)
    ]
    assert pages[0] == pages[1]


def test_sliders_cannot_start_at_the_impossible():
    with pytest.raises(InputError, match="does not fit"):
        widgets.explore_convolution(i=2, k=5)


@pytest.mark.parametrize(
    "show", [widgets.explore_convolution, widgets.explore_transposed, widgets.explore_overlap]
)
def test_sliders_have_a_figure_for_print(monkeypatch, show):
    bundle, metadata = shown(monkeypatch, show)
    assert metadata["image/png"]["drawn"] and metadata["image/png"]["alt"] in bundle["text/html"]
    output = {"output_type": "display_data", "data": bundle, "metadata": metadata}
    assert set(canonical.canonical_output(output)["data"]) == {
        "image/png",
        "text/html",
        "text/plain",
    }


SET_SLIDERS = """
(values) => {
  const sliders = document.querySelectorAll("[data-name]");
  sliders.forEach((slider) => { slider.value = values[slider.dataset.name]; });
  sliders[0].oninput();
  return document.querySelector(".explorer-text").textContent;
}
"""


@pytest.mark.parametrize("show", [widgets.explore_convolution, widgets.explore_transposed])
def test_sliders_agree_with_the_library(browser, monkeypatch, show):
    page = browser.new_page()
    page.set_content(shown(monkeypatch, show)[0]["text/html"])
    transposed, possible = show is widgets.explore_transposed, 0
    for i, k, s, p, d, e in np.random.default_rng(0).integers(0, [5] * 6, (300, 6)):
        v = {"i": i + 3, "k": k + 1, "s": min(s, 3) + 1, "p": p, "d": min(d, 2) + 1}
        try:
            if transposed:
                v["output_padding"] = min(e, 3)
                expected = animation.transposed_slide(**v).output
            else:
                expected = conv.output_size(**v)
        except InputError:
            expected = None
        values = {name[0] if len(name) == 1 else "e": int(value) for name, value in v.items()}
        text = page.evaluate(SET_SLIDERS, values)
        assert (text.startswith("The ") and expected is None) or text.endswith(f" = {expected}"), v
        possible += expected is not None
    assert 100 < possible < 300
    page.close()


def test_overlapping_copies_are_counted(browser, monkeypatch):
    page = browser.new_page()
    page.set_content(shown(monkeypatch, widgets.explore_overlap)[0]["text/html"])
    page.get_by_label("show the sums").check()
    for k in range(1, 7):
        for s in range(1, 5):
            count = conv.conv2d_transpose(np.ones((1, 1, 20, 1)), np.ones((1, k, 1, 1)), (1, s))
            text = page.evaluate(SET_SLIDERS, {"k": k, "s": s})
            first = s * 6  # far enough from the border, and of phase 0
            expected = " ".join(f"{n:g}" for n in count[0, 0, first : first + 12, 0])
            assert text.removesuffix(", all equal") == f"kernel {k}, stride {s}: {expected}"
            assert text.endswith("equal") == (k % s == 0)
    page.close()
