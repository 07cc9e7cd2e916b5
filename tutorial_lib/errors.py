"""The one error that is meant for the reader."""


class InputError(ValueError):
    """What the user gave cannot be used.

    The message is one line that says what was expected and what to do. Notebooks and the
    `tutorial` command show that line alone, without a traceback.
    """

    def _render_traceback_(self) -> list[str]:
        """Called by IPython in place of its own traceback."""
        return [f"{type(self).__name__}: {self}"]


def check_choice(name: str, value, choices):
    """Return `value` if it is one of `choices`.

    Raises:
        InputError: if it is not; the message lists the choices.
    """
    if value not in choices:
        raise InputError(
            f"{name}={value!r} is not known; choose one of {', '.join(map(str, choices))}"
        )
    return value
