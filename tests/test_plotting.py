"""Figures that were written for other data than those at hand say so."""

import pytest

from tutorial_lib.figures import plotting


@pytest.fixture
def other_data():
    plotting.written_for(False)
    yield
    plotting.written_for(True)


@pytest.fixture
def shown(monkeypatch):
    pictures = []
    monkeypatch.setattr("IPython.display.display", pictures.append)

    def show(title, alt):
        fig, _ = plotting.figure(title=title)
        plotting.show(fig, alt=alt)
        return fig.get_suptitle(), pictures[-1].alt

    return show


def test_a_figure_states_what_it_was_written_for(shown):
    assert shown("It falls", "A curve that falls.") == ("It falls", "A curve that falls.")


def test_on_other_data_it_claims_nothing(shown, other_data):
    title, alt = shown("It falls", "A curve that falls.")
    assert title == ""
    assert alt.startswith("Drawn from your own data.") and alt.endswith(": A curve that falls.")
