"""Sliders for convolution arithmetic, with a picture for wherever no kernel answers them.

A cell that shows a widget also carries a film strip. Only the strip is stored in git: a stored
widget would be dead, since what answers its sliders is the running kernel.
"""

from __future__ import annotations

import base64
from collections.abc import Callable

import ipywidgets

from tutorial_lib.errors import InputError
from tutorial_lib.figures import animation, player, plotting

LABELS = {
    "i": "input i",
    "k": "kernel k",
    "s": "stride s",
    "p": "padding p",
    "d": "dilation d",
    "output_padding": "output padding",
}
RANGES = {
    "i": (1, 10),
    "k": (1, 5),
    "s": (1, 4),
    "p": (0, 4),
    "d": (1, 3),
    "output_padding": (0, 3),
}


def explore_convolution(i: int = 6, k: int = 3, s: int = 2, p: int = 1, d: int = 1) -> None:
    """Show sliders for a convolution, its size formula with numbers, and the moving kernel."""
    start = {"i": i, "k": k, "s": s, "p": p, "d": d}
    _display(Explorer(animation.slide, size_formula, start), "convolution")


def explore_transposed(
    i: int = 3, k: int = 3, s: int = 2, p: int = 1, d: int = 1, output_padding: int = 0
) -> None:
    """Show sliders for a transposed convolution, as a convolution over inserted zeros."""
    start = {"i": i, "k": k, "s": s, "p": p, "d": d, "output_padding": output_padding}
    explorer = Explorer(animation.transposed_slide, transposed_size_formula, start)
    _display(explorer, "transposed convolution")


def size_formula(i: int, k: int, s: int, p: int, d: int, o: int) -> str:
    """Write the size of a convolution's output with its numbers put in."""
    return f"o = ⌊({i} + 2·{p} − {d}·({k} − 1) − 1) / {s}⌋ + 1 = {o}"


def transposed_size_formula(
    i: int, k: int, s: int, p: int, d: int, output_padding: int, o: int
) -> str:
    """Write the size of a transposed convolution's output with its numbers put in."""
    return f"o = {s}·({i} − 1) + {d}·({k} − 1) + 1 − 2·{p} + {output_padding} = {o}"


class Explorer:
    """Sliders, a line of arithmetic and a picture that follow one another.

    Args:
        describe: Makes the `animation.Slide` of the sliders' values, or raises `InputError`.
        formula: Writes the sizes down, given the same values and the output size `o`.
        start: The sliders' first values.

    Raises:
        InputError: if those are impossible.
    """

    def __init__(self, describe: Callable, formula: Callable, start: dict[str, int]):
        self.describe, self.formula = describe, formula
        describe(**start)  # sliders can be moved to impossible values, but should not start there
        self.sliders = {
            name: ipywidgets.IntSlider(
                value, *RANGES[name], description=LABELS[name], style={"description_width": "8em"}
            )
            for name, value in start.items()
        }
        self.line = ipywidgets.HTML()
        # Not stretched to the width of the page, as pictures in boxes otherwise are.
        self.picture = ipywidgets.Image(format="png", layout={"align_self": "flex-start"})
        self.play = ipywidgets.Play(interval=player.STEP_MS)
        self.step = ipywidgets.IntSlider(description="step", readout=False)
        ipywidgets.jslink((self.play, "value"), (self.step, "value"))
        for slider in self.sliders.values():
            slider.observe(lambda change: self.rebuild(), "value")
        self.step.observe(lambda change: self.draw(), "value")
        self.rebuild()
        moves = ipywidgets.HBox([self.play, self.step])
        self.box = ipywidgets.VBox([*self.sliders.values(), self.line, self.picture, moves])

    def values(self) -> dict[str, int]:
        return {name: slider.value for name, slider in self.sliders.items()}

    def rebuild(self) -> None:
        """Follow the sliders: new arithmetic, new picture, first step."""
        try:
            self.sliding = self.describe(**self.values())
        except InputError as error:
            self.sliding = None
            self.line.value, self.picture.value = str(error), b""
            return
        self.line.value = f"<b>{self.formula(**self.values(), o=self.sliding.output)}</b>"
        self.play.max = self.step.max = len(self.sliding) - 1
        self.step.value = 0
        self.draw()

    def draw(self) -> None:
        """Draw the step that the slider stands on."""
        if self.sliding is not None:
            step = min(self.step.value, len(self.sliding) - 1)
            fig = animation.draw_step(self.sliding, step)
            self.picture.width = round(fig.get_figwidth() * plotting.DISPLAY_DPI)
            self.picture.value = plotting.to_png(fig)


def _display(explorer: Explorer, what: str) -> None:
    """Display the widget, and the film strip of its first values for all who cannot run it."""
    from IPython.display import display

    title = explorer.formula(**explorer.values(), o=explorer.sliding.output)
    strip = animation.film_strip_png(explorer.sliding, title)
    alt = f"Film strip: {explorer.sliding.story}"
    bundle = explorer.box._repr_mimebundle_()
    bundle["image/png"] = base64.b64encode(strip).decode()
    bundle["text/plain"] = f"<sliders for a {what}: run this cell to move them>"
    display(bundle, raw=True, metadata={"image/png": {"alt": alt}})
