"""What `main.py` does, between its flags and the work."""

import math
import shlex
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np

from common.dataset import Dataset, Source, build, describe, is_built, is_clip
from common.errors import CommandError, UsageError, sentence
from common.evaluation import evaluate, evaluate_clip, mean
from common.files import existing_folder
from common.images import find_pictures, read_picture, write_picture
from common.networks import NETWORKS, VGG19, network
from common.progress import ProgressBar
from common.samples import write_photographs
from common.teacher import Teacher
from common.training import Run, title_of
from common.upscaler import Upscaler
from common.vgg import fetched, vgg_tensors
from common.video import open_video
from common.weights import load_weights, shipped, weights_for, with_motion

DEFAULT_MINUTES = 8  # of training, if no length is asked for
# Flags of training against a discriminator.
ADVERSARIAL = (
    "content_loss", "adversarial_weight", "feature_weight", "mesh_weight", "discriminator_rate", "vgg_weights",
)  # fmt: skip


def training_run(arguments, scratch, group):
    """The `Run` that `arguments` ask for, its data set built; `scratch` is a folder for temporary files.

    group: of common/processes.py, whose first process builds the data set while the others wait.
    """
    spec = asked_network(arguments)
    recipe = changed(spec.recipe_for(arguments.part) if arguments.part else spec.recipe, arguments)
    recipe = replace(recipe, layer_rates=recipe.layer_rates | layer_rates(arguments.layer_rate or [], spec))
    check_of_use(arguments, spec, recipe)
    # A run that goes on has its weights in the checkpoint.
    start, vgg_weights = None if arguments.resume else start_weights(arguments), vgg_file(arguments, spec, recipe)
    folder = Path(arguments.checkpoint_dir)
    dataset = prepared_dataset(arguments, spec, recipe, folder, scratch, group)
    steps, minutes = arguments.steps, arguments.minutes
    with Dataset(dataset, recipe.batch_size, memory=0) as opened:
        # What a prepared file was cut to is what the network is trained on.
        sizes = {key: int(opened.attributes[key]) for key in ("image_size", "label_size", "stride")}
        for key, value in sizes.items():
            if getattr(arguments, key) not in (None, value):
                raise UsageError(f"{dataset} was cut with --{key} {value}, not {getattr(arguments, key)}.")
        recipe = replace(recipe, **sizes)
        if arguments.epoch:
            steps = arguments.epoch * opened.steps_per_epoch
    if not steps and not minutes:
        minutes = DEFAULT_MINUTES
    return Run(
        name=arguments.model,
        spec=spec,
        recipe=recipe,
        dataset=dataset,
        folder=folder,
        framework=arguments.framework,
        device=arguments.device,
        precision=asked_precision(arguments),
        seed=arguments.seed,
        steps=steps,
        minutes=minutes,
        start=start,
        vgg_weights=vgg_weights,
        resume=arguments.resume,
        command=shlex.join(["python", "main.py", *sys.argv[1:]]),
    )


def changed(recipe, arguments):
    """`recipe` with those of its fields that the user gave as flags of the same name."""
    given = {field.name: getattr(arguments, field.name, None) for field in fields(recipe)}
    return replace(recipe, **{name: value for name, value in given.items() if value is not None})


def check_of_use(arguments, spec, recipe):
    """Raise UsageError for a flag that would change nothing in the training of network `spec`."""
    if recipe.recompute and not spec.recomputes:
        raise UsageError(f"{arguments.model} cannot --recompute.")
    given = [flag for flag in ADVERSARIAL if getattr(arguments, flag) is not None]
    if given and not spec.adversarial:
        raise UsageError(f"--{given[0]} is for srgan: {arguments.model} has only a --loss.")
    if arguments.vgg_weights and recipe.content_loss == "mse":
        raise UsageError("--vgg_weights is for --content_loss vgg22 and vgg54.")
    if arguments.loss and recipe.content_loss != "mse":
        raise UsageError(f"--loss is that of pixels, which --content_loss {recipe.content_loss} does not compare.")
    if spec.estimates_motion and recipe.image_size % spec.grid:
        raise UsageError(f"{arguments.model} needs an --image_size that is a multiple of {spec.grid}.")
    if all(recipe.layer_rates.get(layer.name.split(".")[0], 1) == 0 for layer in spec.layers):
        raise UsageError("Nothing is left to train: every --layer_rate is 0.")


def vgg_file(arguments, spec, recipe):
    """Path of VGG19's weights, None where its features are not compared. They are read once before pictures are cut.

    Raises CommandError for a network that does not draw colours, WeightsError if the weights are missing or wrong.
    """
    if recipe.content_loss == "mse":
        return None
    if spec.channels != 3:
        raise CommandError(f"VGG19 sees colours, so {recipe.content_loss} needs a network on RGB.")
    path = arguments.vgg_weights or fetched()
    vgg_tensors(path, VGG19(recipe.content_loss))
    return path


def layer_rates(given, spec):
    """The factors as a dictionary. Raises CommandError for a layer that the network does not have."""
    layers = {layer.name.split(".")[0] for layer in spec.layers}
    for layer, _ in given:
        if layer not in layers:
            raise UsageError(f"There is no layer {layer}; there are {', '.join(sorted(layers))}.")
    return dict(given)


def start_weights(arguments):
    """The weights to start from, or None. Raises CommandError if they are another network's.

    SRGAN also starts from SRResNet, whose network is the same.
    """
    if not arguments.weights:
        return None
    weights = load_weights(arguments.weights, arguments.model)
    if not issubclass(NETWORKS[arguments.model], type(weights.network)):
        raise CommandError(f"{arguments.weights} holds {weights.name}, not {arguments.model}.")
    return weights


def asked_network(arguments):
    """The network that the flags describe."""
    colour = "rgb" if arguments.c_dim == 3 else "luma"
    options = {"scale": arguments.scale, "colour": colour, **dict(arguments.variant)}
    if arguments.motion:
        options["motion"] = arguments.motion
    return network(arguments.model, **options)


def asked_precision(arguments):
    """That of the flag; "auto" is full precision here, as figures and weights are to be those of every machine."""
    return "fp32" if arguments.precision == "auto" else arguments.precision


def prepared_dataset(arguments, spec, recipe, folder, scratch, group):
    """Path of the HDF5 file to train on: the one given, the one built before from the same pictures, or a new one."""
    given = arguments.train_dir
    prepared = [path for path in given or () if Path(path).suffix.lower() in (".h5", ".hdf5")]
    if prepared and len(given) > 1:
        raise UsageError(f"{prepared[0]} is a prepared data set, which is trained on alone.")
    for flag in ("teacher", "augment") if prepared else ():
        if getattr(arguments, flag) is not None:
            raise UsageError(f"{prepared[0]} is prepared already: --{flag} would change nothing.")
    if prepared:
        return Path(prepared[0])
    pictures = pictures_of(given, scratch)
    described = describe(pictures) if given else "the embedded photographs"
    teacher = teacher_of(arguments, spec)
    source = Source(
        model=arguments.model,
        network=spec.to_json(),
        image_size=recipe.image_size,
        label_size=recipe.label_size or (recipe.image_size - 2 * spec.margin) * spec.factor,
        stride=recipe.stride,
        enlargements=tuple(arguments.augment or (1.0,)),
        pictures=f"{described}, labels by {teacher.title}" if teacher else described,
        seed=arguments.seed,
    )
    target = folder / f"{title_of(arguments.model, spec)}.h5"
    if group.first and not is_built(target, source):
        with ProgressBar("Cutting sub-images") as bar:
            report = lambda done, total, skipped: bar(done / total, done, {})  # noqa: E731
            skipped = build(target, pictures, spec, source, report, teacher)
        for _, why in skipped:
            print(f"Skipped: {why}", file=sys.stderr)
        if skipped:
            print(f"{len(skipped)} of {len(pictures)} pictures were skipped.", file=sys.stderr)
    group.wait()
    if not (group.first or is_built(target, source)):
        raise CommandError(
            f"{target} is not the data set that the first process has there: all need the same --train_dir and "
            "--checkpoint_dir, or a copy of the .h5 file as --train_dir."
        )
    return target


def teacher_of(arguments, spec):
    """The `Teacher` that draws the labels, or None."""
    if not arguments.teacher:
        return None
    return Teacher(load_weights(arguments.teacher), spec, arguments.framework, arguments.device)


def pictures_of(folders, scratch):
    """Paths of the pictures and videos in `folders`, or of the embedded photographs, which are written to `scratch`."""
    if folders is None:
        return write_photographs(scratch)
    pictures = []
    for folder in map(existing_folder, folders):
        pictures += find_pictures(folder) + sorted(path for path in folder.iterdir() if is_clip(path))
    if not pictures:
        raise CommandError(f"{' and '.join(map(str, folders))} holds no pictures.")
    return pictures


def weights_for_test(arguments):
    """(weights, path): those given, else those trained in the checkpoint folder, else the shipped ones.

    Raises CommandError if the network asked for is a variant that nobody has trained.
    """
    wanted = asked_network(arguments)
    trained = Path(arguments.checkpoint_dir) / f"{title_of(arguments.model, wanted)}.safetensors"
    path = arguments.weights or (trained if trained.exists() else None)
    weights = with_motion(weights_for(arguments.model, arguments.scale, path), arguments.motion)
    if path is None and weights.network != wanted:
        raise CommandError(f"There are no weights for {title_of(arguments.model, wanted)}: train them first.")
    for key, value in arguments.variant:
        if getattr(weights.network, key) != getattr(wanted, key):
            held = getattr(weights.network, key)
            raise CommandError(f"{path} holds a {weights.name} with {key} {held}, not {value}.")
    return weights, Path(path or shipped(arguments.model, arguments.scale))


def test(arguments, scratch):
    """Test on a folder of pictures, print a table, save the results as pictures; returns the report."""
    weights, path = weights_for_test(arguments)
    pictures = pictures_of([arguments.test_dir] if arguments.test_dir else None, scratch)
    tile = arguments.stride or "auto"  # of no consequence for the result
    upscaler = Upscaler(weights, arguments.framework, arguments.device, asked_precision(arguments), tile)
    print(f"{weights.name} x{upscaler.scale}, {arguments.framework}, {path}")
    print(f"{'':24}{'PSNR':>8}{'SSIM':>8}   bicubic{'PSNR':>8}{'SSIM':>8}")
    rows, samples = [], sample_names(pictures, upscaler)
    for picture in pictures:
        try:
            row, result = test_clip(upscaler, picture) if is_clip(picture) else test_picture(upscaler, picture)
        except ValueError as error:
            print(f"Skipped: {sentence(error)}", file=sys.stderr)
            continue
        rows.append(row)
        print_row(row["name"], row)
        if result is not None:
            write_picture(Path(arguments.sample_dir) / samples[picture], result, overwrite=True)
    if not rows:
        raise CommandError(f"{arguments.test_dir} holds no picture that can be tested.")
    for warning in upscaler.warnings:
        print(f"Warning: {warning}", file=sys.stderr)
    average = mean(rows)
    print_row(f"mean of {len(rows)}", average)
    return {
        "model": weights.name,
        "scale": upscaler.scale,
        "framework": arguments.framework,
        "precision": upscaler.runtime.precision,
        "weights": str(path.resolve()),
        "dataset": str(Path(arguments.test_dir).resolve()) if arguments.test_dir else "embedded photographs",
        "images": rows,
        "mean": average,
    }


def sample_names(pictures, upscaler):
    """{picture: name of the file its result is saved in}; suffixes are kept in it where two would be the same."""
    stems = [picture.stem for picture in pictures]
    tag = f"{upscaler.name}_x{upscaler.scale}.png"
    return {path: f"{path.stem if stems.count(path.stem) == 1 else path.name}_{tag}" for path in pictures}


def test_picture(upscaler, path):
    """Test on one picture; returns (the row of the report, the result as a picture)."""
    original = read_picture(path)
    result = evaluate(upscaler, path.name, original.pixels)
    return result.figures, replace(original, pixels=np.ascontiguousarray(result.pixels), alpha=None)


def test_clip(upscaler, path):
    """Test on the luma of one video; returns (the row of the report, None)."""
    with open_video(path) as reader:
        return evaluate_clip(upscaler, path.name, list(reader)), None


def print_row(name, figures):
    print(
        f"{name[:24]:24}{figures['psnr']:8.2f}{figures['ssim']:8.4f}          "
        f"{figures['bicubic_psnr']:8.2f}{figures['bicubic_ssim']:8.4f}"
    )


def print_training(report):
    """The end of a training run in two lines."""
    print(f"{report['steps']} steps in {report['seconds']:.0f} s, {report['samples_per_second']:.0f} sub-images/s")
    if report["validation"]:
        figures = [math.inf if psnr is None else psnr for _, psnr in report["validation"]]  # as JSON knows no infinity
        print(f"PSNR on the pictures held back: best {max(figures):.2f} dB, last {figures[-1]:.2f} dB")
