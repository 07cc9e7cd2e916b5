"""Sliders for convolution arithmetic, with a film strip for wherever no kernel runs.

Only the film strip is stored in git: without the running kernel, sliders would do nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import ipywidgets

from tutorial_lib.errors import InputError
from tutorial_lib.figures import animation, player, plotting

LABELS_AND_RANGES = {
    "i": ("input i", 1, 10),
    "k": ("kernel k", 1, 5),
    "s": ("stride s", 1, 4),
    "p": ("padding p", 0, 4),
    "d": ("dilation d", 1, 3),
    "output_padding": ("output padding", 0, 3),
}


def explore_convolution(i: int = 6, k: int = 3, s: int = 2, p: int = 1) -> None:
    """Show sliders for a convolution, its size formula with numbers, and the sliding kernel."""
    start = {"i": i, "k": k, "s": s, "p": p, "d": 1}
    _show(Explorer(animation.slide, size_formula, start), "convolution")


def explore_transposed(i: int = 3, k: int = 3, s: int = 2, p: int = 1) -> None:
    """Show sliders for a transposed convolution, as a convolution over inserted zeros."""
    start = {"i": i, "k": k, "s": s, "p": p, "d": 1, "output_padding": 0}
    explorer = Explorer(animation.transposed_slide, transposed_size_formula, start)
    _show(explorer, "transposed convolution")


def size_formula(i: int, k: int, s: int, p: int, d: int, o: int) -> str:
    """Return the formula of a convolution's output size with its numbers."""
    return f"o = ⌊({i} + 2·{p} − {d}·({k} − 1) − 1) / {s}⌋ + 1 = {o}"


def transposed_size_formula(i, k, s, p, d, output_padding, o) -> str:
    """Return the formula of a transposed convolution's output size with its numbers."""
    kernel = k if d == 1 else f"{d}·({k} − 1) + 1"
    return f"o = {s}·({i} − 1) + {kernel} − 2·{p} + {output_padding} = {o}"


class Explorer:
    """Sliders with a formula and a drawing that follow them.

    Args:
        describe: Returns the `animation.Slide` of the sliders' values, or raises `InputError`.
        formula: Returns the size formula, given the same values and the output size `o`.
        start: The sliders' first values.

    Raises:
        InputError: if those are impossible.
    """

    def __init__(self, describe: Callable, formula: Callable, start: dict[str, int]):
        self.describe, self.formula = describe, formula
        describe(**start)  # sliders can be moved to impossible values, but should not start there
        self.sliders = {}
        for name, value in start.items():
            label, *limits = LABELS_AND_RANGES[name]
            self.sliders[name] = ipywidgets.IntSlider(
                value, *limits, description=label, style={"description_width": "8em"}
            )
        self.line = ipywidgets.HTML()
        # Not stretched to the width of the page, as images in boxes otherwise are.
        self.image = ipywidgets.Image(format="png", layout={"align_self": "flex-start"})
        self.play = ipywidgets.Play(interval=player.STEP_MS)
        self.step = ipywidgets.IntSlider(description="step", readout=False)
        ipywidgets.jslink((self.play, "value"), (self.step, "value"))
        for slider in self.sliders.values():
            slider.observe(lambda change: self.rebuild(), "value")
        self.step.observe(lambda change: self.draw(), "value")
        self.steps = ipywidgets.HBox([self.play, self.step])
        self.box = ipywidgets.VBox([*self.sliders.values(), self.line, self.image, self.steps])
        self.rebuild()

    def rebuild(self) -> None:
        """Follow the sliders: new formula, new drawing, first step."""
        values = {name: slider.value for name, slider in self.sliders.items()}
        try:
            self.sliding = self.describe(**values)
        except InputError as error:
            self.sliding = None
            self.line.value = str(error)
            self.image.layout.display = self.steps.layout.display = "none"
            return
        self.size = self.formula(**values, o=self.sliding.output)
        self.line.value = f"<b>{self.size}</b>"
        self.image.layout.display = self.steps.layout.display = None
        self.play.max = self.step.max = len(self.sliding) - 1
        self.step.value = 0
        self.draw()

    def draw(self) -> None:
        """Draw the step that the slider is at."""
        if self.sliding is not None:
            step = min(self.step.value, len(self.sliding) - 1)
            fig = animation.draw_step(self.sliding, step)
            self.image.width = round(fig.get_figwidth() * plotting.DISPLAY_DPI)
            self.image.value = plotting.to_png(fig)


def _show(explorer: Explorer, operation: str) -> None:
    """Display the sliders, and the film strip of their first values where no kernel runs."""
    text = {"text/plain": f"<sliders for a {operation}: run this cell to move them>"}
    plotting.show(
        animation.film_strip(explorer.sliding, explorer.size),
        alt=f"Film strip: {explorer.sliding.description}",
        interactive=lambda png, alt: explorer.box._repr_mimebundle_() | text,
    )
