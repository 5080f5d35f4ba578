"""The one error type for bad input: it names the culprit and the cure."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message names the file, slide, column or config key at fault, what was found, what was
    expected and what to do. Scripts print it without a traceback and exit with status 2.
    """
