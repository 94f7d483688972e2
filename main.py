"""Train a network, or test one: python main.py --stride=14 --is_train=True, then python main.py --is_train=False."""

import argparse
import sys
import tempfile
from pathlib import Path

from common import cli
from common.progress import ProgressBar
from common.recipes import LOSSES, OPTIMIZERS

EXAMPLES = """examples:
  python main.py --stride=14 --is_train=True                    train SRCNN on the embedded photographs
  python main.py --stride=21 --is_train=False                   test it
  python main.py --model espcn --framework torch --train_dir photos --steps 20000
  python main.py --model espcn --is_train=False --test_dir Set5 --report set5.json
"""


def parser():
    parse = cli.Parser(description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parse.add_argument(
        "--is_train", type=cli.boolean, nargs="?", const=True, default=True, help="train, or test (default: True)"
    )
    parse.add_argument("--model", choices=cli.model_names(), default="srcnn", help="default: %(default)s")
    cli.add_common_flags(parse, framework="tensorflow")
    parse.add_argument(
        "--precision", choices=["auto", "fp64", "fp32", "bf16"], default="auto", help="default: %(default)s"
    )
    parse.add_argument(
        "--variant",
        type=cli.variant,
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="change the network, e.g. kernels=9-1-5 or activation=relu",
    )
    parse.add_argument("--c_dim", type=int, choices=[1, 3], help="1: luma, 3: RGB (default: 1, srresnet and srgan 3)")
    parse.add_argument(
        "--stride",
        type=cli.positive(int),
        help="step between sub-images, in pixels of the network's input (default: the network's own, srcnn 14; in a "
        "test as large as memory allows)",
    )
    parse.add_argument(
        "--checkpoint_dir", default="checkpoint", help="weights, checkpoints, logs (default: %(default)s)"
    )
    parse.add_argument("--sample_dir", default="samples", help="pictures made by a test (default: %(default)s)")

    train = parse.add_argument_group("training (sizes and rates default to the network's own recipe)")
    train.add_argument(
        "--train_dir",
        nargs="+",
        metavar="PATH",
        help="folders of pictures, one named twice counts twice, or a prepared .h5 (default: embedded photographs)",
    )
    length = train.add_mutually_exclusive_group()
    length.add_argument("--epoch", type=cli.positive(int), help="length of the run in passes over the data")
    length.add_argument("--steps", type=cli.positive(int), help="... in batches")
    length.add_argument("--minutes", type=cli.positive(float), help="... in minutes (default: 8)")
    train.add_argument(
        "--batch_size", type=cli.positive(int), help="sub-images a step, of all devices together (srcnn: 128)"
    )
    train.add_argument(
        "--devices",
        type=cli.positive(int),
        help="devices of this machine that share each batch in TensorFlow; in PyTorch torchrun says so (default: 1)",
    )
    train.add_argument("--image_size", type=cli.positive(int), help="side of an input sub-image (srcnn: 33)")
    train.add_argument("--label_size", type=cli.positive(int), help="side of its target (srcnn: 21)")
    train.add_argument(
        "--augment",
        type=cli.positive(float),
        nargs="+",
        metavar="FACTOR",
        help="use each picture resized by these factors, e.g. 1 0.8 0.6 (default: 1)",
    )
    train.add_argument(
        "--teacher", metavar="FILE", help="learn what the network of this weights file draws, not the true pictures"
    )
    train.add_argument("--learning_rate", type=cli.positive(float), help="its peak; it decays to zero")
    train.add_argument("--optimizer", choices=OPTIMIZERS)
    train.add_argument("--loss", choices=list(LOSSES))
    train.add_argument(
        "--content_loss", choices=["mse", "vgg22", "vgg54"], help="what SRGAN's pictures share with the truth (mse)"
    )
    train.add_argument(
        "--adversarial_weight", type=cli.not_negative(float), help="of SRGAN's adversarial loss beside it (0.001)"
    )
    train.add_argument(
        "--feature_weight",
        type=cli.not_negative(float),
        help="of the difference of its discriminator's feature maps, which the paper does not have (0)",
    )
    train.add_argument(
        "--mesh_weight",
        type=cli.not_negative(float),
        help="of the mesh that a sub-pixel convolution can draw, which the paper does not have (0)",
    )
    train.add_argument(
        "--discriminator_rate", type=cli.positive(float), help="factor on the learning rate for its discriminator (1)"
    )
    train.add_argument(
        "--vgg_weights", metavar="FILE.h5", help="VGG19 as Keras offers it, for vgg22 and vgg54 (default: fetched once)"
    )
    train.add_argument(
        "--clip_norm", type=cli.not_negative(float), help="length the gradient is shortened to, 0: never (1)"
    )
    train.add_argument(
        "--part",
        choices=["motion", "resolution"],
        help="train only this part of a video network, from --weights, and leave the other as it is",
    )
    train.add_argument(
        "--layer_rate",
        type=cli.layer_rate,
        action="append",
        metavar="LAYER=FACTOR",
        help="factor on the learning rate of a layer, e.g. conv3=0.1 as in the papers",
    )
    train.add_argument(
        "--recompute",
        action="store_true",
        default=None,
        help="keep fewer feature maps and compute them again: less memory, a third more time (drcn)",
    )
    train.add_argument(
        "--validation_size",
        type=cli.not_negative(int),
        help="side of the centre that is measured of pictures held back, 0: all of it (drcn: 96)",
    )
    train.add_argument("--seed", type=cli.not_negative(int), default=0, help="default: %(default)s")
    train.add_argument("--resume", action="store_true", help="go on from the last checkpoint")

    test = parse.add_argument_group("testing")
    test.add_argument("--test_dir", metavar="FOLDER", help="folder of pictures (default: embedded photographs)")
    return parse


def train(arguments):
    from common import experiments, processes, training

    place = arguments.framework, arguments.device, arguments.devices
    with tempfile.TemporaryDirectory() as scratch, processes.joined(*place) as group:
        run = experiments.training_run(arguments, Path(scratch), group)
        try:
            with ProgressBar(f"Training {run.title}", quiet=not group.first) as bar:
                report = training.train(run, bar, group)
        except training.Interrupted as stop:
            if group.first:
                print(
                    f"Stopped after step {stop.step}; the same command with --resume goes on from there.",
                    file=sys.stderr,
                )
            raise KeyboardInterrupt from None
    if group.first:
        cli.write_report(arguments.report, report)
        experiments.print_training(report)
        print(report["weights"])


def test(arguments):
    from common import experiments, processes

    number, size = processes.place(arguments.framework)
    if number:  # a launcher began several, which would all write the same files
        print(f"A test is the work of process 0; process {number} of {size} has nothing to do.", file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as scratch:
        report = experiments.test(arguments, Path(scratch))
    cli.write_report(arguments.report, report)
    print(Path(arguments.sample_dir).resolve())


def work(arguments):
    cli.check_report(arguments.report)
    cli.use_threads(arguments)
    (train if arguments.is_train else test)(arguments)


def main(argv=None):
    return cli.run_command(work, parser().parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
