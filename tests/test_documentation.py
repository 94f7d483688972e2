"""The documentation is right: its commands run, its code works, its tables and links hold."""

import configparser
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from xml.etree import ElementTree

import pytest
from clips import make_clip
from torch.distributed.run import get_args_parser as torchrun_parser

import main
import super_resolve
from common import benchmark, cli, experiments, export, pages, processes, speed, video_commands
from common.images import Picture, write_picture
from common.networks import NETWORKS, network
from common.weights import Weights, initial_tensors, save_weights

ROOT = Path(__file__).resolve().parent.parent
PAGES = ["README.md", "weights/README.md", *sorted(str(page.relative_to(ROOT)) for page in ROOT.glob("docs/**/*.md"))]
RUN_THROUGH = ["README.md", "docs/guide.md", "docs/ideas.md"]  # every command of these is run, in their order
ADDING = "## Adding a sixth network"  # the section whose commands are those of another project
PROGRAMS = {
    "main.py": (main.parser, main.main),
    "super_resolve.py": (super_resolve.parser, super_resolve.main),
    "common.video": (video_commands.parser, video_commands.main),
    "common.benchmark": (benchmark.parser, benchmark.main),
    "common.export": (export.parser, export.main),
    "common.pages": (pages.parser, pages.main),
}
INSTALLED = {"super-resolve": "super_resolve.py", "super-resolve-train": "main.py"}
OTHERS = {"cat"}  # of every Unix
SMALL = {"drcn": {"width": 4}, "srresnet": {"blocks": 1, "width": 8}, "srgan": {"blocks": 1, "width": 8}}
NARROW = {"width=64": "width=2", "width-64": "width-2"}
LENGTHS = {"--minutes", "--steps", "--epoch"}
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# What the parity tests must have asked of a new network, if they are to prove anything.
PARITY = {
    "test_every_variant_gives_the_same_picture",
    "test_rgb_networks_shuffle_their_channels_alike",
    "test_gradients_agree",
    "test_twenty_training_steps_agree",
    "test_training_in_double_precision_agrees",
    "test_a_state_moves_from_one_framework_to_the_other",
    "test_the_dataclass_knows_the_shapes",
    "test_twin_files_have_the_same_names_in_the_same_order",
    "test_network_files_differ_in_their_first_lines_only",
}
PROOF = """
import json, sys, pytest
import main, super_resolve
programs = {"pytest": pytest.main, "main.py": main.main, "super_resolve.py": super_resolve.main}
sys.exit(max(int(programs[name](words)) for name, words in json.loads(sys.argv[1])))
"""


@dataclass(frozen=True)
class Stage:
    """One program of a command line. target: the file that its output is redirected to, or None. environment: what
    stands before it, or what torchrun adds, of which `words` says no more: tests run one process (see
    test_distributed.py for several).
    """

    words: tuple[str, ...]
    target: str | None = None
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def program(self):
        """The key of PROGRAMS, or the name of whatever else it is."""
        name, *rest = self.words
        if name in ("python", "python3"):
            name = rest[1] if rest[0] == "-m" else rest[0]
        return INSTALLED.get(name, name)

    @property
    def arguments(self):
        """What comes after the program."""
        skipped = {"python": 3 if self.words[1] == "-m" else 2}.get(self.words[0], 1)
        return list(self.words[skipped:])


def page_text(page, adding=False):
    """The text of a page, with or without the section that describes a changed project; or that section alone."""
    text = (ROOT / page).read_text(encoding="utf-8")
    before, _, section = text.partition(ADDING)
    return section if adding else before


def blocks(text, language):
    """The contents of all fenced blocks of a language."""
    return [content for name, content in FENCED.findall(text) if name == language]


def lines_of(text):
    """The command lines of all shell blocks, continued lines joined."""
    joined = "\n".join(blocks(text, "sh")).replace("\\\n", " ")
    return [line.strip() for line in joined.splitlines() if line.strip() and not line.strip().startswith("#")]


def spans_of(text):
    """The code inside running text."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", FENCED.sub("", text))]


def pipelines(line):
    """The pipelines of a command line, which are lists of `Stage`s, one after the other."""
    found = [[[]]]
    for word in shlex.split(line, comments=True):
        if word == "&&":
            found.append([[]])
        elif word == "|":
            found[-1].append([])
        else:
            found[-1][-1].append(word)
    return [[_stage(words) for words in stages] for stages in found]


def _stage(words):
    settings = list(takewhile(re.compile("[A-Z_]+=").match, words))
    environment, words = dict(setting.split("=", 1) for setting in settings), words[len(settings) :]
    if words[0] == "torchrun":
        launch = torchrun_parser().parse_args(words[1:])
        environment |= {"RANK": "0", "WORLD_SIZE": launch.nproc_per_node}
        words = ["python", launch.training_script, *launch.training_script_args]
    if ">" in words:
        place = words.index(">")
        return Stage(tuple(words[:place]), words[place + 1], environment)
    return Stage(tuple(words), None, environment)


def described_commands():
    """(page, line) of every command in a shell block or in running text, of this project as it is."""
    for page in PAGES:
        text = page_text(page)
        commands = [span for span in spans_of(text) if re.match(r"(python3?|torchrun|make|pip) \S", span)]
        yield from ((page, line) for line in dict.fromkeys([*lines_of(text), *commands]))


# ---- What is written


@pytest.mark.parametrize(("page", "line"), described_commands())
def test_commands_are_right_usage(page, line, capsys):
    for stage in (stage for stages in pipelines(line) for stage in stages):
        check_usage(stage, capsys)


def check_usage(stage, capsys):
    """Fail unless the program of `stage` exists and takes its arguments."""
    name, arguments = stage.program, stage.arguments
    if name in PROGRAMS:
        parsed = check_arguments(name, arguments, capsys)
        assert not stage.environment or processes.place(parsed.framework, stage.environment)[1] > 1
    elif name == "make":
        assert set(arguments) <= make_targets()
    elif name == "pip":
        assert arguments[0] == "install"
        extras = re.findall(r"\[(.*?)\]", " ".join(arguments))
        assert {extra for names in extras for extra in names.split(",")} <= extras_of_setup()
    elif name == "pytest":
        assert all((ROOT / word).exists() for word in arguments if word.startswith("tests"))
    elif name.endswith(".py"):
        assert (ROOT / name).is_file()
    else:
        assert name in OTHERS


def check_arguments(name, arguments, capsys):
    """The parsed arguments, None for a --help; fails if they are wrong."""
    try:
        parsed = PROGRAMS[name][0]().parse_args(arguments)
    except SystemExit as stop:
        assert stop.code == cli.DONE, capsys.readouterr().err  # it was --help
        return None
    if name == "main.py":
        spec = experiments.asked_network(parsed)
        experiments.layer_rates(parsed.layer_rate or [], spec)
        assert not parsed.part or spec.recipe_for(parsed.part)
        experiments.check_of_use(parsed, spec, experiments.changed(spec.recipe, parsed))
    return parsed


def make_targets():
    return set(re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def extras_of_setup():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    return set(setup["options.extras_require"])


@pytest.mark.parametrize("page", PAGES)
def test_flags_in_running_text_exist(page):
    parsers = [torchrun_parser(), *(parser() for parser, _ in PROGRAMS.values())]
    known = {flag for parser in parsers for flag in flags_of(parser)}
    named = {flag for span in spans_of(page_text(page)) for flag in re.findall(r"(?<![\w-])--[a-z][\w-]*", span)}
    assert named <= known


def flags_of(parser):
    """All flags of a parser and of its commands."""
    for action in parser._actions:
        yield from action.option_strings
        if isinstance(action.choices, dict):
            for command in action.choices.values():
                yield from flags_of(command)


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    text = FENCED.sub("", (ROOT / page).read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"\w+:", link):
            continue
        path, _, place = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.exists(), link
        if place:
            assert place in headings(target), link


def headings(page):
    """The anchors of a page as GitHub makes them."""
    titles = re.findall(r"^#+ (.*)$", FENCED.sub("", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_table_of_networks_is_that_of_the_code():
    rows = re.findall(r"^\| (\w+) \|(.*)\|$", page_text("docs/guide.md"), re.MULTILINE)
    cells = {name: [cell.strip() for cell in row.split("|")] for name, row in rows if name in NETWORKS}
    assert list(cells) == list(NETWORKS)
    for name, row in cells.items():
        spec = network(name)
        scales = ", ".join(map(str, spec.scales))
        assert row == [scales, spec.colour, str(spec.frames), f"{spec.parameters:,}", str(spec.halo)]


# ---- What is run


@pytest.fixture(scope="module")
def material(tmp_path_factory, make_pixels):
    """A folder with small files under the names that the pages use."""
    folder = tmp_path_factory.mktemp("material")
    sides = {"photos": 174, "T91": 174, "BSD200": 174, "test_photos": 66, "Set5": 66, "my_pictures": 66}
    for name, side in sides.items():  # the larger are the smallest of which VESPCN's recipe cuts a sub-image
        for number in range(2 if side > 66 else 1):
            write_picture(folder / name / f"{number}.png", Picture(make_pixels(side, side, seed=number)))
    write_picture(folder / "in.png", Picture(make_pixels(30, 42)))
    for name in ("clips", "test_clips", "video"):
        (folder / name).mkdir()
        for number in range(2):
            make_clip(folder / name / f"{number}.mp4", range(0, 120, 40), width=64, height=64)
    seconds = (0, 10, 11, 30, 31, 90, 91, 95)
    make_clip(folder / "holiday.mkv", [1000 * time for time in seconds], width=48, height=32,
              options={"qp": "0", "g": "1"}, audio=[("libopus", 1, {})])  # fmt: skip
    (folder / "weights").mkdir()
    shutil.copy(ROOT / "weights" / "espcn_x3.safetensors", folder / "weights")
    for name, scale in (("srresnet", 4), ("drcn", 2)):
        spec = network(name, scale=scale, **SMALL[name])
        path = folder / "weights" / f"{name}_x{scale}.safetensors"
        save_weights(path, Weights(name, spec, initial_tensors(spec, 0)))
    return folder


@pytest.fixture
def place(material, tmp_path, monkeypatch):
    """A copy of that folder to work in."""
    folder = tmp_path / "place"
    shutil.copytree(material, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(speed, "time_per_frame", lambda upscaler: speed.FrameTime(12.345))
    return folder


def shortened(program, arguments):
    """The arguments of a command that does the same in two steps with a small network, on the files at hand."""
    if program == "common.video":
        return arguments if arguments[0] == "info" else [*arguments, "--overwrite"]
    if program == "super_resolve.py":  # lines that write the same file are meant as alternatives
        return [*arguments, "--framework", "torch", "--quiet", "--overwrite"]
    if program == "common.benchmark":
        return [*arguments, "--framework", "torch"]
    if program == "common.pages":
        return [*arguments, "--count", "1"]
    for flag in (LENGTHS | {"--devices"}) & set(arguments):
        place = arguments.index(flag)
        arguments = arguments[:place] + arguments[place + 2 :]
    for wide, narrow in NARROW.items():
        arguments = [word.replace(wide, narrow) for word in arguments]
    parsed = main.parser().parse_args(arguments)
    given = ["--train_dir", "photos"] if parsed.is_train and not parsed.train_dir else []
    given += ["--test_dir", "test_photos"] if not parsed.is_train and not parsed.test_dir else []
    given += ["--steps", "2", "--batch_size", "2"] if parsed.is_train else []
    sizes = {key: value for key, value in SMALL.get(parsed.model, {}).items() if key not in dict(parsed.variant)}
    small = [word for key, value in sizes.items() for word in ("--variant", f"{key}={value}")]
    return [*arguments, *given, *small, "--framework", "torch", "--device", "cpu"]


def run_line(line, monkeypatch, capsys):
    """Run those programs of a command line that are ours, each with what the one before wrote."""
    for stages in pipelines(line):
        source = None
        for number, stage in enumerate(stages):
            if stage.program == "cat":
                source = stage.words[1]
            elif stage.program in PROGRAMS:
                target = stage.target or (f"pipe{number}" if number + 1 < len(stages) else None)
                run_stage(line, stage, source, target, monkeypatch, capsys)
                source = target


def run_stage(line, stage, source, target, monkeypatch, capsys):
    if stage.program == "super_resolve.py" and "--serve" in stage.arguments:
        return open_page(stage.arguments, monkeypatch)
    capsys.readouterr()
    with monkeypatch.context() as pipes:
        if source:
            pipes.setattr(sys, "stdin", io.TextIOWrapper(open(source, "rb")))  # noqa: SIM115 - closed with the text
        if target:
            pipes.setattr(sys, "stdout", io.TextIOWrapper(open(target, "wb")))  # noqa: SIM115
        code = PROGRAMS[stage.program][1](shortened(stage.program, stage.arguments))
        for stream in (sys.stdin if source else None, sys.stdout if target else None):
            if stream is not None:
                stream.close()
    assert code == cli.DONE, f"{line}\n{capsys.readouterr().err}"


def open_page(arguments, monkeypatch):
    """Offer the page of --serve, and close it once it has answered."""
    testclient = pytest.importorskip("starlette.testclient", reason="gradio is not installed")
    answers = []

    def answer(app, listener, workshop):
        with testclient.TestClient(app, "http://127.0.0.1") as client:
            answers.append(client.get("/").status_code)

    with monkeypatch.context() as changed:
        changed.setattr("common.serving.run", answer)
        changed.setattr("tempfile.tempdir", str(Path.cwd()))  # where Gradio makes a folder anew for every page
        assert super_resolve.main([*arguments, "--port", "0"]) == cli.DONE
    assert answers == [200]


@pytest.mark.parametrize("page", RUN_THROUGH)
def test_commands_run_in_the_order_of_the_page(page, place, monkeypatch, capsys):
    for line in lines_of(page_text(page)):
        run_line(line, monkeypatch, capsys)


def test_ideas_without_training_run(place, capsys):
    session = {}
    for block in blocks(page_text("docs/ideas.md"), "python"):
        exec(block, session)
    assert capsys.readouterr().out.count("dB") >= 8


def test_the_network_of_the_guide_passes_the_parity_tests_by_itself(material, tmp_path):
    project, section = tmp_path / "project", page_text("docs/guide.md", adding=True)
    for package in ("common", "tf_models", "torch_models"):
        shutil.copytree(ROOT / package, project / package, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("main.py", "super_resolve.py", "setup.cfg", "tests/conftest.py", "tests/test_twins.py"):
        (project / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, project / name)
    shutil.copytree(material / "photos", project / "photos")
    shutil.copy(material / "in.png", project)
    for path, code in pieces(section):
        add_piece(project / path, code)
    commands = [stage for line in lines_of(section) for stages in pipelines(line) for stage in stages]
    todo = [(stage.program, in_the_copy(stage)) for stage in commands]
    assert [name for name, _ in todo] == ["pytest", "main.py", "super_resolve.py"]
    ended = subprocess.run(
        [sys.executable, "-c", PROOF, json.dumps(todo)], cwd=project, capture_output=True, encoding="utf-8"
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    cases = list(ElementTree.parse(project / "proof.xml").iter("testcase"))
    assert all("hourglass" in case.get("name") and len(case) == 0 for case in cases)  # none failed or was skipped
    assert {case.get("name").partition("[")[0] for case in cases} >= PARITY


def pieces(section):
    """(file, code) of each block of code, whose file is named in the line above."""
    for above, code in re.findall(r"^([^\n]+)\n\n```python\n(.*?)^```$", section, re.MULTILINE | re.DOTALL):
        yield re.search(r"`([\w/]+\.py)`", above)[1], code


def add_piece(path, code):
    """Do what the page says: a new file, or in that of the networks, a class above their table, or a row at its end."""
    if not path.exists():
        path.write_text(code, encoding="utf-8")
        return
    before, table, after = path.read_text(encoding="utf-8").partition("NETWORKS = {\n")
    rows, end, rest = after.partition("}\n")
    if code.startswith("@dataclass"):
        before += f"{code}\n\n"
    else:
        rows += code
    path.write_text(before + table + rows + end + rest, encoding="utf-8")


def in_the_copy(stage):
    """The arguments of a command of the section, short."""
    if stage.program == "pytest":
        return [*stage.arguments, "-p", "no:cacheprovider", "--junitxml", "proof.xml"]
    if stage.program == "main.py":
        place = next(stage.arguments.index(flag) for flag in LENGTHS if flag in stage.arguments)
        return [*stage.arguments[:place], *stage.arguments[place + 2 :], "--steps", "2", "--batch_size", "2"]
    return stage.arguments
