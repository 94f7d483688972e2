"""The one place that picks a framework."""

import importlib
import importlib.util
import os
import sys
from contextlib import contextmanager

FRAMEWORKS = {"tensorflow": "tf_models", "torch": "torch_models"}


class BackendError(RuntimeError):
    """The framework asked for cannot be used; the message is one sentence."""


def load(framework, part):
    """Module `part` ("runtime", "training", ...) of the package written for `framework` ("tensorflow" or "torch")."""
    if framework not in FRAMEWORKS:
        raise BackendError(f"there is no framework {framework!r}; known are {', '.join(FRAMEWORKS)}.")
    if importlib.util.find_spec(framework) is None:
        raise BackendError(f"{framework} is not installed: pip install 'video-super-resolution[{framework}]'.")
    if framework == "tensorflow" and "tensorflow" not in sys.modules:
        start_tensorflow_quietly()
    return importlib.import_module(f"{FRAMEWORKS[framework]}.{part}")


def installed(preferred):
    """`preferred` if that framework is installed, else the other one if that is."""
    others = [name for name in FRAMEWORKS if name != preferred]
    return next((name for name in (preferred, *others) if importlib.util.find_spec(name)), preferred)


def start_tensorflow_quietly():
    """Import TensorFlow without its start-up chatter, unless TF_CPP_MIN_LOG_LEVEL asks for it.

    What is said before its logging is set up, and while it looks for GPUs, no setting silences.
    """
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever the user's own Keras is set to
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        return
    # Of a lost process an exception tells the others: they need not hear of it from every part of TensorFlow as well.
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3" if "TF_CONFIG" in os.environ else "2"
    with stderr_closed():
        importlib.import_module("tensorflow").config.list_physical_devices()


@contextmanager
def stderr_closed():
    """Nothing written to standard error, by this process or a library in it, is seen."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
