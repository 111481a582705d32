"""The root of errors that a user can mend: shown as a sentence, without a traceback."""


class InputError(ValueError):
    """Something that the user gave cannot be used; the message says what, where and the remedy."""
