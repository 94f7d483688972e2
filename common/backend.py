"""The one place that picks a framework."""

import importlib
import importlib.util
import os

FRAMEWORKS = {"tensorflow": "tf_models", "torch": "torch_models"}


class BackendError(RuntimeError):
    """The framework asked for cannot be used; the message is one sentence."""


def load(framework, part):
    """Module `part` ("runtime", "training", ...) of the package written for `framework` ("tensorflow" or "torch")."""
    if framework not in FRAMEWORKS:
        raise BackendError(f"there is no framework {framework!r}; known are {', '.join(FRAMEWORKS)}.")
    if importlib.util.find_spec(framework) is None:
        raise BackendError(f"{framework} is not installed: pip install 'video-super-resolution[{framework}]'.")
    if framework == "tensorflow":
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")  # its start-up chatter belongs in no user's terminal
    return importlib.import_module(f"{FRAMEWORKS[framework]}.{part}")
