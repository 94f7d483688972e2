"""The report of the benchmark: what is kept of a run, so that the next one measures only what is missing."""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

from common.errors import CommandError
from common.files import written_whole
from common.manifest import order
from common.networks import NETWORKS
from common.weights import shipped


def weights_hash(model, scale):
    """SHA-256 of the shipped weights file of a network, or None if there is none."""
    path = shipped(model, scale)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None


class Report:
    """What was measured so far, and the JSON file that it is kept in, if any.

    sets: [{"name", "kind", "hash", "known", "note"}], see common/material.py.
    entries: [{"model", "scale", "framework", "set", "weights", "data", "items", "mean"}]: "weights" and "data" are the
        hashes of what was measured; "items" [{"name", "psnr", "ssim"}], for pictures with "blur", for clips with the
        PSNR of its "frames"; "mean" of the items is there when none is missing. Undefined figures are None.
    times: [{"model", "scale", "framework", "weights", "machine", "milliseconds", "extrapolated", "busy"}], see
        common/speed.py; busy ones are measured again when there is an opportunity.
    """

    PARTS = ("sets", "entries", "times")

    def __init__(self, path=None):
        """Raises CommandError if there is a file at `path` that is no report of this kind."""
        self.path = path
        self.content = {part: [] for part in self.PARTS}
        if path and Path(path).exists():
            try:
                self.content = json.loads(Path(path).read_text(encoding="utf-8"))
                known = all(isinstance(self.content[part], list) for part in self.PARTS)
            except (ValueError, KeyError, TypeError):
                known = False
            if not known:
                raise CommandError(f"{path} is no report of a benchmark; remove it, or name another file.")
            self._forget_old_weights()

    def _forget_old_weights(self):
        for part in ("entries", "times"):
            self.content[part] = [
                one
                for one in self.content[part]
                if one["framework"] is None or one["weights"] == weights_hash(one["model"], one["scale"])
            ]

    def begin_set(self, material):
        """Note a test set; what was measured on others of its name is forgotten."""
        name, content = material.name, self.content
        known, note = material.identity
        one = {"name": name, "kind": material.kind, "hash": material.hash, "known": known, "note": note}
        others = [other for other in content["sets"] if other["name"] != name]
        content["sets"] = sorted([*others, one], key=lambda other: order(other["name"]))
        content["entries"] = [e for e in content["entries"] if e["set"] != name or e["data"] == material.hash]

    def entry(self, job, material):
        """The entry of a job on a test set, begun if there is none."""
        for one in _of(job, self.content["entries"]):
            if one["set"] == material.name:
                return one
        one = {**job.key, "set": material.name, "weights": job.weights, "data": material.hash, "items": []}
        self.content["entries"].append(one)
        return one

    def measured(self, job, material):
        """The names of what a job was measured on in a test set."""
        entries = [one for one in _of(job, self.content["entries"]) if one["set"] == material.name]
        return {item["name"] for one in entries for item in one["items"]}

    def is_timed(self, job, machine):
        """Whether there is a time of a job on a machine that had nothing else to do."""
        return any(not one["busy"] and one["machine"] == machine for one in _of(job, self.content["times"]))

    def add(self, job, material, figures):
        """Keep the figures of an item, with the last of a set their mean; it is saved now if a loss would hurt."""
        entry = self.entry(job, material)
        entry["items"].append(figures)
        complete = len(entry["items"]) == len(material.items)
        if complete:
            entry["mean"] = _mean(entry["items"])
        if complete or material.kind == "clips":
            self.save()

    def add_time(self, job, machine, time):
        """Keep the `FrameTime` of a job on a machine, in the place of an earlier one."""
        one = {**job.key, "weights": job.weights, "machine": machine, **asdict(time)}
        one["milliseconds"] = float(f"{time.milliseconds:.3g}")
        old = [other for other in _of(job, self.content["times"]) if other["machine"] == machine]
        self.content["times"] = [other for other in self.content["times"] if other not in old] + [one]

    def milliseconds(self, job):
        """The time of a frame on whatever machine it was measured last, or 0."""
        times = _of(job, self.content["times"])
        return times[-1]["milliseconds"] if times else 0.0

    def save(self):
        """Write the file, an entry on a line, in an order that does not depend on what was measured first."""
        if not self.path:
            return
        self.content["entries"].sort(key=lambda one: (order(one["set"]), *_place(one)))
        self.content["times"].sort(key=lambda one: (one["machine"], *_place(one)))
        parts = []
        for part in self.PARTS:
            lines = ",\n".join("  " + json.dumps(one) for one in self.content[part])
            parts.append(f' "{part}": [\n{lines}\n ]')
        with written_whole(self.path) as temporary:
            temporary.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def _of(job, ones):
    """Those of the entries or times that are of a job."""
    return [one for one in ones if all(one[key] == value for key, value in job.key.items())]


def _place(one):
    """Where an entry or time stands among others."""
    return one["scale"], ["bicubic", *NETWORKS].index(one["model"]), one["framework"] or ""


def _mean(items):
    """{measure: mean over the items that have it, or None}."""
    measures = dict.fromkeys(key for item in items for key in item if key not in ("name", "frames"))
    values = {key: [item[key] for item in items if item.get(key) is not None] for key in measures}
    return {key: round(sum(some) / len(some), 6) if some else None for key, some in values.items()}
