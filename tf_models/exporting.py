"""A network with its weights as files for other programs: a SavedModel, which is a folder, or one file for LiteRT.

What is written takes whole pictures: what is to be seen beyond them, elsewhere from common/upscaler.py, is made inside.
"""

import json
import re
import tempfile
from pathlib import Path

import keras
import tensorflow as tf

from common.backend import stderr_closed
from tf_models.layers import load_tensors, named_weights
from tf_models.runtime import build

SIGNATURE = "serving_default"  # that loaders take if they are given no name


class Whole(keras.Model):
    """The network `model` on whole pictures: (N, H, W, inputs) to (N, factor H, factor W, C), of any height and width.

    Beyond the edge of a picture it sees the edge repeated, as far as its receptive field reaches, or its own padding.
    """

    def __init__(self, model, spec):
        super().__init__()
        self.model = model
        self.spec = spec

    def call(self, x):
        spec = self.spec
        rows, columns = tf.unstack(tf.shape(x)[1:3])
        for axis, side in ((1, rows), (2, columns)) if spec.beyond else ():
            places = tf.range(-spec.beyond, -(-side // spec.grid) * spec.grid + spec.beyond)
            x = tf.gather(x, tf.clip_by_value(places, 0, side - 1), axis=axis)
        spare = (spec.beyond - spec.margin) * spec.factor  # outputs that saw padding
        x = self.model(x)
        return x[:, spare : spare + spec.factor * rows, spare : spare + spec.factor * columns]


def export(kind, spec, tensors, path, facts):
    """Write the network of the dataclass `spec` with the weights `tensors` to `path`, as "saved_model" or "litert".

    facts: {key: text}, which a SavedModel keeps as JSON in `assets.extra/facts.json`, and LiteRT not at all.
    """
    model = build(spec)
    load_tensors(model, tensors)
    whole = Whole(model, spec)

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, spec.inputs), tf.float32, name="input")])
    def enlarge(input):
        return {"output": whole(input)}

    module = tf.Module()
    module.enlarge = enlarge
    module.tensors = list(named_weights(model).values())
    if kind == "saved_model":
        tf.saved_model.save(module, str(path), signatures={SIGNATURE: enlarge})
        extra = Path(path) / "assets.extra"  # the folder of a SavedModel that is its author's
        extra.mkdir()
        (extra / "facts.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    else:
        with tempfile.TemporaryDirectory() as folder:
            tf.saved_model.save(module, folder, signatures={SIGNATURE: enlarge})
            converter = tf.lite.TFLiteConverter.from_saved_model(folder, signature_keys=[SIGNATURE])
            try:
                with stderr_closed():
                    content = converter.convert()
            except Exception as error:  # whose class TensorFlow keeps to itself
                names = sorted(set(re.findall(r"'tf\.(\w+)' op is neither", str(error))))
                reason = ", ".join(names) or str(error).partition("\n")[0]
                raise RuntimeError(f"LiteRT has no operators for this {type(spec).__name__} ({reason}).") from error
        Path(path).write_bytes(content)


def opened(kind, path):
    """The file at `path` in the loader for its kind: a function on arrays, (N, H, W, inputs) to (N, ..., ..., C)."""
    if kind == "saved_model":
        loaded = tf.saved_model.load(str(path))
    else:
        from ai_edge_litert.interpreter import Interpreter

        loaded = Interpreter(model_path=str(path))

    def run(batch):
        if kind == "saved_model":
            return loaded.signatures[SIGNATURE](input=tf.constant(batch))["output"].numpy()
        with stderr_closed():
            return loaded.get_signature_runner(SIGNATURE)(input=batch)["output"]

    return run
