"""The training loop, the same for both frameworks: batches, schedule, validation, checkpoints, logs.

The step itself and its state live in `tf_models/training.py` and `torch_models/training.py`; both keep that state as
the same named arrays, so a checkpoint of one framework continues in the other.
"""

import json
import math
import shutil
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np

from common import backend
from common.dataset import Dataset
from common.errors import TrainingError, WeightsError
from common.interruption import Interruption
from common.logs import Log, is_in_use, read_log
from common.networks import VGG19, Network, described_network, network
from common.processes import Alone, Lost
from common.recipes import Recipe
from common.starting import started
from common.validation import Validator
from common.vgg import vgg_tensors
from common.weights import Weights, initial_tensors, read_safetensors, save_weights, write_safetensors

VALIDATIONS = 20  # a run is validated this many times, and a checkpoint written each time
CHECKED_EVERY = 25  # steps between looks at the loss, which on a GPU make the host wait


class Interrupted(Exception):
    """The user stopped the run; `step` says after which step the checkpoint was written."""

    def __init__(self, step):
        super().__init__(f"stopped after step {step}")
        self.step = step


@dataclass(frozen=True)
class Run:
    """All that is asked of a training run.

    dataset: HDF5 file of common/dataset.py. folder: where checkpoint, weights and logs go. The run ends after `steps`
    steps, or after `minutes` of training. vgg_weights: Keras' file of VGG19, for content losses that compare its
    features; None fetches it. start: `Weights` to begin with, see common/starting.py.
    """

    name: str
    spec: Network
    recipe: Recipe
    dataset: Path
    folder: Path
    framework: str = "tensorflow"
    device: str = "auto"
    precision: str = "fp32"
    seed: int = 0
    steps: int | None = None
    minutes: float | None = None
    start: Weights | None = None
    resume: bool = False
    vgg_weights: Path | None = None
    command: str = ""  # what the user typed, for the header of the weights
    memory: int = 2 << 30

    @property
    def title(self):
        """Name of its files: network and scale, and whatever is not the network's default."""
        return title_of(self.name, self.spec)

    @property
    def weights_path(self):
        return Path(self.folder) / f"{self.title}.safetensors"

    @property
    def checkpoint_path(self):
        return Path(self.folder) / f"{self.title}.checkpoint"

    @property
    def log_path(self):
        return Path(self.folder) / f"{self.title}.jsonl"

    @property
    def board_path(self):
        """The folder for TensorBoard."""
        return Path(self.folder) / "tensorboard" / self.title


def train(run, progress=None, group=None):
    """Train as `run` says; returns the report: steps, seconds, samples_per_second, loss, validation and weights.

    progress: called as progress(fraction, step, numbers) now and then. group: of common/processes.py, the processes
    that each call this with the same `run`. Raises TrainingError if the loss stops being a number, a checkpoint cannot
    be continued, a batch cannot be shared or another process is lost; DatasetError for a bad data set; Interrupted
    after Ctrl-C on any process.
    """
    group = group or Alone()
    part = group.rank, group.size
    with Dataset(run.dataset, run.recipe.batch_size, run.seed, run.memory, part) as dataset:
        if dataset.batch_size % group.shares:
            raise TrainingError(
                f"A batch of {dataset.batch_size} sub-images cannot be shared equally by {group.shares}: "
                f"take a --batch_size that is a multiple of {group.shares}."
            )
        return Loop(run, dataset, progress or (lambda fraction, step, numbers: None), group).run_to_the_end()


def title_of(name, spec):
    """What files of a network are called, e.g. espcn_x3, or espcn_x3_activation-relu for a variant."""
    default = network(name, scale=spec.scale)
    values = {field.name: getattr(spec, field.name) for field in fields(spec)}
    others = {key: value for key, value in values.items() if value != getattr(default, key)}
    words = [
        f"{key}-{'-'.join(map(str, value)) if isinstance(value, tuple) else value}" for key, value in others.items()
    ]
    return "_".join([name, f"x{spec.scale}", *words])


def set_aside(run):
    """Give what an earlier run left in the folder another name, so that a new one does not replace it unasked."""
    for path in (run.weights_path, run.checkpoint_path, run.log_path, run.board_path):
        if path.exists():
            previous = path.with_name(f"{path.stem}.previous{path.suffix}")
            if previous.is_dir():
                shutil.rmtree(previous)
            path.replace(previous)


class Loop:
    """One run in progress.

    The weights it keeps are those of the highest PSNR on the pictures held back. In adversarial training they are the
    latest: by PSNR the best would be those it began with, which draw no detail that they could get wrong.

    Of several processes all train, and the first does the rest: it validates, and writes checkpoints and logs.
    """

    def __init__(self, run, dataset, progress, group):
        self.run, self.dataset, self.progress, self.group = run, dataset, progress, group
        self._check_dataset()
        if group.first and is_in_use(run.log_path):
            raise TrainingError(f"Another run is at work on {run.log_path}; give this one another --checkpoint_dir.")
        tensors = initial_tensors(run.spec, run.seed)
        self.start = ""  # the command that made the weights it starts from
        if run.start:
            tensors = started(run.start, run.spec, tensors, run.seed)
            self.start = run.start.info.get("command", "unknown")
        with group.scope():
            self.training = self._training(tensors)
        self.validator = Validator(run, dataset, tensors) if group.first else None
        self.step, self.seconds = 0, 0.0
        self.best, self.best_psnr, self.figures = tensors, -math.inf, {}
        if run.resume:
            self._load_checkpoint()
        elif group.first:
            set_aside(run)
        # Counted in parts of the length of this run, which may be another than that of the one it continues.
        self.next_validation = math.floor(self._fraction() * VALIDATIONS) + 1
        self.has_checkpoint = run.resume
        self.log = None
        if group.first:
            self.log = Log(run.log_path, run.board_path, self.step)

    def _training(self, tensors):
        """The network in training, from `tensors`, with the discriminator against it if it has one."""
        run, module = self.run, backend.load(self.run.framework, "training")
        network = run.spec, tensors, run.recipe, run.device, run.precision, self.group
        if not run.spec.adversarial:
            return module.Training(*network)
        side = self.dataset.label.shape[1]
        rival, features = run.spec.discriminator(side), None
        if self.dataset.batch_size * (side // 16) ** 2 < 2:
            raise TrainingError("Batch normalisation needs more than one value: take a larger --batch_size.")
        if run.recipe.content_loss != "mse":
            vgg = VGG19(run.recipe.content_loss)
            features = vgg, vgg_tensors(run.vgg_weights, vgg)
        return module.Adversarial(*network, discriminator=(rival, initial_tensors(rival, run.seed)), features=features)

    def run_to_the_end(self):
        batches = self.dataset.batches(self.step)
        try:
            self.group.wait()  # for the first, which had more to prepare
            with Interruption() as interruption:
                self._run(batches, interruption)
        except Lost as lost:
            kept = f"--resume goes on from {self.run.checkpoint_path}" if self.has_checkpoint else "nothing is kept yet"
            raise TrainingError(f"{lost}; {kept}.") from lost
        finally:
            batches.close()
            if self.log:
                self.log.close()
        return self._report() if self.group.first else None

    def _run(self, batches, interruption):
        before, since = self.seconds, time.perf_counter()
        self.progress(self._fraction(), self.step, {})
        while self._fraction() < 1:
            data, label = next(batches)
            progress = self._fraction()
            self.training.step(data, label, self.run.recipe.rate(self.step, progress), progress)
            self.step += 1
            seconds = before + time.perf_counter() - since
            self.seconds, asked = self.group.agree(seconds, interruption.asked)
            due = self._fraction() * VALIDATIONS >= self.next_validation
            if due or self.step % CHECKED_EVERY == 0:
                self._look_at(self.group.averages(self.training.terms))
            if due:
                self._keep(validated=True)
                # Validation is no training: the clock of a timed run stands still.
                before, since = self.seconds, time.perf_counter()
            elif asked:
                self._keep()
            if asked and self._fraction() < 1:
                raise Interrupted(self.step)

    def _fraction(self):
        """How much of the run is behind us, in [0, 1]."""
        if self.run.steps is not None:
            return self.step / self.run.steps
        return self.seconds / (60 * self.run.minutes)

    def _look_at(self, terms):
        if not math.isfinite(terms["loss"]):
            self._give_up()
        if not self.group.first:
            return
        rate = self.run.recipe.rate(self.step, self._fraction())
        speed = self.step * self.dataset.batch_size / max(self.seconds, 1e-9)
        self.log.write(self.step, **terms, learning_rate=rate, samples_per_second=speed)
        self.progress(self._fraction(), self.step, {**terms, "best": self.best_psnr, "samples/s": speed})

    def _give_up(self):
        kept = f"; the last good state is in {self.run.checkpoint_path}" if self.has_checkpoint else ""
        raise TrainingError(
            f"The loss is no number any more at step {self.step}; a --learning_rate below "
            f"{self.run.recipe.learning_rate:g} should help{kept}."
        )

    def _keep(self, validated=False):
        """Write a checkpoint, the weights having been `validated` or not; all go on when the first has done so."""
        if self.group.first and validated:
            self._validate()
        if self.group.first:
            self._save_checkpoint()
        self.has_checkpoint = True
        self.next_validation = math.floor(self._fraction() * VALIDATIONS) + 1
        self.group.wait()

    def _validate(self):
        weights = self.training.weights()
        figures, picture = self.validator(weights)
        aim = figures["psnr" if self.run.recipe.picture_weight else "compensated_psnr"]
        if math.isnan(aim):
            self._give_up()
        self.log.write(self.step, **figures)
        self.log.picture(self.step, "validation", picture)
        if aim > self.best_psnr or self.run.spec.adversarial:
            self.best, self.best_psnr, self.figures = weights, aim, figures
            self._save_weights()
        self.progress(self._fraction(), self.step, {"best": self.best_psnr, **figures})

    def _save_weights(self):
        attributes, run = self.dataset.attributes, self.run
        info = {
            "command": run.command,
            **({"start": self.start} if self.start else {}),
            "training_data": str(attributes.get("pictures", "")),
            "sub_images": str(len(self.dataset)),
            "recipe": json.dumps(asdict(run.recipe)),
            "framework": run.framework,
            "precision": self.training.precision,
            "seed": str(run.seed),
            "steps": str(self.step),
            **{f"validation_{name}": f"{figure:.4f}" for name, figure in self.figures.items()},
        }
        save_weights(run.weights_path, Weights(run.name, run.spec, self.best, info))

    def _save_checkpoint(self):
        arrays = {**self.training.state(), **{f"best/{name}": value for name, value in self.best.items()}}
        if not all(np.isfinite(array).all() for array in arrays.values()):
            self._give_up()
        header = {
            "place": json.dumps({"step": self.step, "seconds": self.seconds}),
            "best_psnr": repr(self.best_psnr),
            "figures": json.dumps(self.figures),
            "identity": self._identity(),
            "start": self.start,
        }
        arrays = {name: np.ascontiguousarray(value) for name, value in arrays.items()}
        write_safetensors(self.run.checkpoint_path, arrays, header)

    def _load_checkpoint(self):
        path = self.run.checkpoint_path
        try:
            arrays, header = read_safetensors(path)
        except WeightsError as error:
            raise TrainingError(f"There is nothing to resume: {error}") from None
        if completed(header.get("identity", "")) != completed(self._identity()):
            raise TrainingError(f"{path} belongs to a run with another network, recipe, precision, seed or data set.")
        try:
            self.training.load_state(arrays)
            place = json.loads(header["place"])
            self.step, self.seconds = int(place["step"]), float(place["seconds"])
            self.best_psnr, self.figures = float(header["best_psnr"]), dict(json.loads(header["figures"]))
            self.start = header.get("start", self.start)
        except (KeyError, ValueError, TypeError, RecursionError) as error:
            raise TrainingError(f"{path} is not complete ({error}).") from None
        self.best = {name.removeprefix("best/"): array for name, array in arrays.items() if name.startswith("best/")}
        if self.group.first and math.isfinite(self.best_psnr) and not self.run.weights_path.exists():
            self._save_weights()

    def _identity(self):
        """What must be the same for a checkpoint to be continued; length of the run and framework may change."""
        run = self.run
        return json.dumps(
            [
                [run.name, run.spec.to_json(), asdict(run.recipe), run.seed, self.training.precision],
                [len(self.dataset), self.dataset.batch_size],
                [str(self.dataset.attributes.get(key)) for key in ("pictures", "enlargements", "stride")],
            ]
        )

    def _check_dataset(self):
        spec, attributes = self.run.spec, self.dataset.attributes
        made_for = attributes.get("network")
        with suppress(ValueError):  # a network may have got options since, which have their defaults there
            made_for = described_network(attributes["model"], made_for).to_json()
        if made_for != spec.to_json():
            raise TrainingError(
                f"{self.run.dataset} was made for {attributes.get('model')} {attributes.get('network')}, "
                f"not for {spec.to_json()}."
            )
        if min(self.dataset.data.shape[1:3]) <= 2 * spec.margin:
            raise TrainingError(
                f"Sub-images of {self.dataset.data.shape[1]} pixels are too small: this {type(spec).__name__} sees "
                f"{2 * spec.margin + 1} pixels, so take an --image_size above {2 * spec.margin}."
            )

    def _report(self):
        records = read_log(self.run.log_path)
        return {
            "steps": self.step,
            "seconds": round(self.seconds, 3),
            "samples_per_second": round(self.step * self.dataset.batch_size / max(self.seconds, 1e-9), 1),
            "loss": [[record["step"], record["loss"]] for record in records if "loss" in record],
            "validation": [[record["step"], record["psnr"]] for record in records if "psnr" in record],
            "weights": str(self.run.weights_path.resolve()),
        }


def completed(identity):
    """The identity of a checkpoint, given as JSON, with what networks and recipes have got since at its default.

    None if it is no identity.
    """
    with suppress(ValueError, TypeError, RecursionError):
        (name, spec, recipe, *rest), *data = json.loads(identity)
        defaults = json.loads(json.dumps(asdict(Recipe())))
        return [name, described_network(name, spec), {**defaults, **recipe}, *rest], *data
    return None
