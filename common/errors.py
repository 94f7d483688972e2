"""What goes wrong, and how it is said: errors whose message is a sentence for the user, and that of any other."""


class CommandError(Exception):
    """The work failed; the message is one sentence for the user."""


class UsageError(CommandError):
    """What was asked for makes no sense; the message is one sentence for the user."""


class WeightsError(ValueError):
    """A weights file that cannot be used; the message is one sentence."""


class TrainingError(RuntimeError):
    """A run that cannot go on; the message is one sentence."""


def sentence(error):
    """What to tell a user of an exception, ending in a full stop."""
    text = " ".join(_words(error).split())
    return text if text.endswith((".", "!", "?")) else f"{text}."


def _words(error):
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    if isinstance(error, MemoryError):
        return "There is not enough memory; a smaller --tile or --batch_size needs less."
    if isinstance(error, (ValueError, RuntimeError, CommandError)) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error}"


def reason_of(error):
    """What a library says went wrong, for the middle of a sentence: one line, no error numbers and file names."""
    if type(error).__name__ == "PyAVCallbackError":  # a file object raised something
        error = error.__cause__ or error.__context__ or error
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0].rstrip(".")
