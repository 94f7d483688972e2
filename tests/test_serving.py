"""The page of --serve, in a real browser: dropped, enlarged, compared, downloaded, refused; and its end."""

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from browser import Window
from clips import make_clip, packets_of
from kill_and_resume import read
from PIL import Image

import super_resolve
from common import cli, serving_work
from common.errors import CommandError
from common.images import Picture, read_picture, write_picture
from common.metrics import psnr
from common.sample_film import write_small_film
from common.serving_work import Limits, Workshop, look_at
from common.weights import shipped_scales

ROOT = Path(__file__).resolve().parent.parent
LONG = 120  # seconds that a busy machine may need
START = "return document.querySelector('#start')"
ENCODED = 38  # dB that the luma of each frame keeps: measured 39.1, of bicubic frames and of those beside it 37.2
DONE = "return document.querySelector('#result iframe')"
REFUSED = "const said = document.querySelector('#result .alert'); return said && said.textContent"
SEEN = "const said = document.querySelector('#seen p').textContent; return said.startsWith('Up to') ? '' : said"


class Server:
    """`super_resolve.py --serve --scale 2` at any port that is free, its temporary files in `folder`."""

    def __init__(self, folder):
        self.folder = folder
        self.process = subprocess.Popen(
            [sys.executable, "super_resolve.py", "--serve", "--port", "0", "--scale", "2"],
            cwd=ROOT, env={**os.environ, "TMPDIR": str(folder)}, stdout=subprocess.PIPE, encoding="utf-8",
        )  # fmt: skip
        self.address = re.search(r"http://\S+", self.process.stdout.readline())[0]

    @property
    def port(self):
        return int(self.address.rsplit(":", 1)[1])

    @property
    def files(self):
        """Names of the files that anybody has dropped or made."""
        return {path.name for path in self.folder.rglob("*.*") if path.is_file()}

    def end(self):
        """Interrupt it, as Ctrl-C does; returns (exit code, what it says)."""
        self.process.send_signal(signal.SIGINT)
        said, _ = self.process.communicate(timeout=LONG)
        return self.process.returncode, said


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    pytest.importorskip("gradio", reason="gradio is not installed")
    running = Server(tmp_path_factory.mktemp("server"))
    yield running
    running.end()


class Visit(Window):
    """The page in the open window of the browser."""

    def __init__(self, browser, server, **size):
        super().__init__(browser, server.address, **size)
        self.server = server
        self.wait(START)

    def drop(self, path):
        """Drop a file; returns what is said of it."""
        self.find("#upload input[type=file]").send_keys(str(path))
        return self.wait(SEEN)

    def enlarge(self, path):
        self.drop(path)
        self.find("#start").click()
        self.wait(DONE)

    def options(self, label):
        """{words: element} of the values of a field, which is opened."""
        self.find(f"#choices input[aria-label='{label}']").click()
        self.wait("return document.querySelector('[role=option]')")
        options = self.browser.find_elements("css selector", "[role=option]")
        # Not `.text`, which is empty where the list must be scrolled to see it.
        return {option.get_attribute("textContent").strip("✓ \n"): option for option in options}

    def choose(self, label, words):
        self.options(label)[words].click()
        self.wait("return !document.querySelector('[role=option]')")

    def download(self, folder):
        """Click on the result; returns the path of what then lies in `folder`."""
        link = self.find("#result .links a")
        path = folder / link.get_attribute("href").rsplit("/", 1)[1]
        self.tell("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(folder))
        link.click()
        end = time.monotonic() + LONG
        while not path.exists() and time.monotonic() < end:
            time.sleep(0.05)
        return path


def by_command(source, folder, *options):
    """The path of what the command writes for the same."""
    folder.mkdir()
    target = folder / source.name
    assert super_resolve.main([str(source), "--scale=2", "--output", str(target), "--quiet", *options]) == cli.DONE
    return target


@pytest.fixture
def picture(tmp_path, make_pixels):
    """A picture of 16 bits with transparency."""
    path = tmp_path / "in.png"
    write_picture(path, Picture(make_pixels(20, 30, depth=16), alpha=make_pixels(20, 30, 1, depth=16)[..., 0]))
    return path


# ---- In a browser


def test_a_picture_is_enlarged_compared_and_downloaded(chromium, server, picture, tmp_path):
    visit = Visit(chromium, server)
    assert visit.drop(picture) == "30 × 20 pixels."
    visit.find("#start").click()
    visit.wait(DONE)
    result = visit.download(tmp_path / "downloads")
    assert result.name == "in_espcn_x2.png"
    assert result.read_bytes() == by_command(picture, tmp_path / "command").read_bytes()
    assert read_picture(result).depth == 16
    assert "espcn x2 by torch on cpu in " in visit.find("#result").text
    chromium.switch_to.frame(visit.find("#result iframe"))
    visit.wait("return document.querySelector('.divider input')")
    assert [row.text for row in chromium.find_elements("css selector", "select option:checked")] == ["bicubic", "ESPCN"]
    visit.find(".divider input").send_keys("\ue012" * 3)  # arrow left
    assert float(visit.find(".divider input").get_attribute("value")) < 50
    chromium.switch_to.default_content()
    page = visit.ask("return fetch(document.querySelectorAll('#result .links a')[1].href).then(page => page.text())")
    assert "<title>in.png</title>" in page
    hosts = {re.match(r"(?:data|blob):|https?://[^/]+", address)[0] for address in visit.requests}
    assert hosts <= {server.address, "data:", "blob:"}
    assert [row for row in chromium.get_log("browser") if row["level"] == "SEVERE"] == []


def test_a_clip_keeps_its_sound(chromium, server, tmp_path):
    source = tmp_path / "clip.mp4"
    write_small_film(source, 4)
    visit = Visit(chromium, server)
    assert visit.drop(source) == "96 × 72 pixels, 2.0 seconds."
    visit.find("#start").click()
    visit.wait(DONE)
    result = visit.download(tmp_path / "downloads")
    assert result.name == "clip_espcn_x2.mp4"
    # Encoded without loss, the frames of the command are what those of the page were before they were encoded.
    (frames, sound), (true_frames, true_sound) = read(result), read(by_command(source, tmp_path / "out", "--crf=0"))
    assert sound == true_sound == packets_of(source, "audio")
    assert [time for time, *_ in frames] == [time for time, *_ in true_frames]
    assert len(frames) == 48
    for (_, one, *_), (_, other, *_) in zip(frames, true_frames, strict=True):
        assert psnr(*(np.frombuffer(luma, np.uint8).reshape(144, 192) for luma in (one, other)), peak=255) > ENCODED
    chromium.switch_to.frame(visit.find("#result iframe"))
    visit.wait("return [...document.querySelectorAll('video')].every(video => video.readyState >= 2)")
    assert visit.ask("return document.querySelectorAll('video').length") == 2
    chromium.switch_to.default_content()


def test_a_clip_is_enlarged_as_by_the_command(chromium, server, tmp_path):
    source = tmp_path / "clip.mkv"
    make_clip(source, range(0, 800, 40), width=48, height=32, pixel_format="yuva420p", codec="ffv1")  # without loss
    visit = Visit(chromium, server)
    assert visit.drop(source) == "48 × 32 pixels, 0.8 seconds."
    visit.find("#start").click()
    visit.wait(DONE)
    result = visit.download(tmp_path / "downloads")
    assert read(result) == read(by_command(source, tmp_path / "command"))


def test_what_is_refused_is_refused_in_the_words_of_the_command_line(chromium, server, tmp_path, capsys):
    notes, large = tmp_path / "notes.png", tmp_path / "large.png"
    notes.write_text("This is no picture.")
    Image.new("1", (6000, 5000)).save(large)  # 5 kB
    visit = Visit(chromium, server)
    visit.drop(notes)
    visit.find("#start").click()
    said = visit.wait(REFUSED)
    super_resolve.main([str(notes)])
    assert capsys.readouterr().err == f"Error: {tmp_path}/{said}\n"
    assert visit.find("#seen").text == said
    visit = Visit(chromium, server)
    assert visit.drop(large).startswith("large.png has 30.0 megapixels, and this page takes up to 25; the command line")
    visit.find("#start").click()
    assert visit.wait(REFUSED) == visit.find("#seen").text
    visit = Visit(chromium, server)
    visit.find("#start").click()
    assert visit.wait(REFUSED) == "Drop a picture or a clip first."


def test_two_visitors_get_what_is_theirs_until_they_leave(chromium, server, tmp_path, make_pixels):
    visits, first = {}, chromium.current_window_handle
    for number in range(2):
        source = tmp_path / f"visitor{number}.png"
        write_picture(source, Picture(make_pixels(30, 40, seed=number)))
        if number:
            chromium.switch_to.new_window("tab")
        visits[chromium.current_window_handle] = visit = Visit(chromium, server)
        visit.drop(source)
    for handle in visits:  # both wait before either has been answered
        chromium.switch_to.window(handle)
        visits[handle].find("#start").click()
    for number, (handle, visit) in enumerate(visits.items()):
        chromium.switch_to.window(handle)
        visit.wait(DONE)
        result = visit.download(tmp_path / "downloads")
        expected = by_command(tmp_path / f"visitor{number}.png", tmp_path / f"command{number}")
        assert result.name == f"visitor{number}_espcn_x2.png"
        assert result.read_bytes() == expected.read_bytes()
    assert {"visitor0_espcn_x2.png", "visitor1_espcn_x2.png", "visitor1.png"} <= server.files
    chromium.close()
    chromium.switch_to.window(first)
    end = time.monotonic() + LONG
    while any("visitor1" in name for name in server.files) and time.monotonic() < end:
        time.sleep(0.05)
    assert {name for name in server.files if "visitor" in name} == {
        "visitor0.png", "visitor0_espcn_x2.png", "visitor0_espcn_x2.html"}  # fmt: skip


def test_only_what_has_weights_is_offered(chromium, server):
    visit = Visit(chromium, server)
    offered = [words.partition(" ")[0] for words in visit.options("Network")]
    assert offered == [name for name in cli.model_names() if shipped_scales(name)]
    visit = Visit(chromium, server)
    assert list(visit.options("Scale")) == [f"×{scale}" for scale in shipped_scales("espcn")]
    visit = Visit(chromium, server)
    visit.choose("Network", "srresnet (sharp, slow)")
    first, *_ = known = [f"×{scale}" for scale in shipped_scales("srresnet")]
    visit.wait(f"return document.querySelector(\"#choices input[aria-label='Scale']\").value == '{first}'")
    assert list(visit.options("Scale")) == known


@pytest.mark.parametrize("width", [320, 390, 1200])
def test_everything_fits_and_has_a_name(chromium, server, picture, width):
    visit = Visit(chromium, server, width=width, height=844)
    visit.enlarge(picture)
    visit.wait("return document.querySelector('#result iframe').clientHeight > 300")
    assert visit.ask("return document.documentElement.scrollWidth <= window.innerWidth")
    nodes = visit.tell("Accessibility.getFullAXTree")["nodes"]
    told = [(n["role"]["value"], n["name"]["value"]) for n in nodes if not n["ignored"] and "name" in n]
    for expected in (
        ("heading", "Super-resolution"), ("combobox", "Network"), ("combobox", "Scale"), ("combobox", "Framework"),
        ("combobox", "Precision"), ("button", "Enlarge"), ("button", "Stop"), ("Iframe", "Before and after"),
        ("link", "Download the comparison"),
    ):  # fmt: skip
        assert expected in told
    assert all(name for role, name in told if role in ("button", "combobox", "link", "textbox", "Iframe"))


def test_the_guide_names_the_limits():
    assert str(Limits()) in " ".join((ROOT / "docs" / "guide.md").read_text(encoding="utf-8").split())


# ---- At the door


def test_others_are_not_answered(server):
    for path, host, code in (("/", "elsewhere.example", 400), ("/results/any/..%2f..%2fin.png", None, 404)):
        asked = urllib.request.Request(server.address + path, headers={"Host": host} if host else {})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(asked, timeout=LONG)
        assert refused.value.code == code
    with urllib.request.urlopen(server.address, timeout=LONG) as answer:
        assert "default-src 'self'" in answer.headers["Content-Security-Policy"]


def test_the_end_leaves_nothing(tmp_path):
    pytest.importorskip("gradio", reason="gradio is not installed")
    running = Server(tmp_path)
    form = b'--x\r\nContent-Disposition: form-data; name="files"; filename="in.png"\r\n\r\nfile\r\n--x--\r\n'
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    upload = urllib.request.Request(f"{running.address}/gradio_api/upload", form, kind)
    urllib.request.urlopen(upload, timeout=LONG).close()
    assert running.files == {"in.png"}
    code, said = running.end()
    assert (code, said) == (cli.DONE, "The page is closed.\n")
    assert not any(tmp_path.iterdir())


def test_a_taken_port_is_told_at_once(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert super_resolve.main(["--serve", "--port", str(port)]) == cli.FAILED
    expected = f"Error: Port {port} of 127.0.0.1 is taken; --port names another, 0 any free one.\n"
    assert capsys.readouterr().err == expected


def test_without_gradio_the_extra_is_named(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    assert super_resolve.main(["--serve"]) == cli.FAILED
    assert capsys.readouterr().err == "Error: The page needs Gradio: pip install 'video-super-resolution[demo]'.\n"


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("--serve in.png", "An input has no place beside --serve."),
        ("--serve --output out.png", "--output has no place beside --serve."),
        ("--serve --crf 0", "--crf has no place beside --serve."),
        ("--serve --resume", "--resume has no place beside --serve."),
        ("--serve --segment 5", "--segment has no place beside --serve."),
        ("--serve --cluster local", "--cluster has no place beside --serve."),
        ("in.png --port 80", "--port is for --serve."),
        ("in.png --host 0.0.0.0 --jobs 2", "--host is for --serve."),
    ],
)
def test_flags_that_nothing_would_come_of_are_wrong_usage(line, sentence, capsys, monkeypatch):
    monkeypatch.setattr("common.serving.listen", lambda *_: pytest.fail("The page was opened."))
    assert super_resolve.main(line.split()) == cli.USAGE
    assert capsys.readouterr().err == f"Error: {sentence}\n"


def test_what_is_chosen_at_first_must_be_there(capsys):
    assert super_resolve.main(["--serve", "--model", "srgan", "--scale", "2"]) == cli.FAILED
    assert "There are no weights for srgan x2" in capsys.readouterr().err


# ---- The work behind it


CHOICE = {"model": "espcn", "scale": 2, "framework": "torch", "precision": "fp32"}


@pytest.fixture
def workshop(tmp_path):
    arguments = super_resolve.parser().parse_args(["--serve"])
    folder = tmp_path / "workshop"
    folder.mkdir()
    return Workshop(folder, arguments, super_resolve.enlarge, Limits(megapixels=0.01, seconds=0.5, megabytes=0.05))


def silent(*_):
    """Tells nobody how far the work is."""


def test_limits_are_checked_before_the_work(tmp_path, workshop, make_pixels):
    make_clip(tmp_path / "long.mkv", range(0, 800, 40))
    make_clip(tmp_path / "wide.mkv", [0, 40], width=160, height=90)
    (tmp_path / "heavy.png").write_bytes(bytes(60_000))
    write_picture(tmp_path / "large.tif", Picture(make_pixels(100, 101)))
    for name, words in (
        ("long.mkv", "long.mkv lasts 0.8 seconds, and this page takes up to 0.5"),
        ("wide.mkv", "wide.mkv has 0.0 megapixels, and this page takes up to 0.01"),
        ("heavy.png", "heavy.png has 0 MB, and this page takes up to 0.05"),
        ("large.tif", "large.tif has 0.0 megapixels, and this page takes up to 0.01"),
    ):
        with pytest.raises(CommandError, match=re.escape(words)):
            workshop.look("visitor", tmp_path / name)


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp", ".bmp", ".gif"])
@pytest.mark.parametrize("depth", [8, 16])
def test_the_size_of_a_picture_is_seen_without_decoding_it(tmp_path, make_pixels, suffix, depth):
    path = tmp_path / f"in{suffix}"
    if suffix == ".gif":
        Image.new("L", (30, 20)).save(path)
    else:
        write_picture(path, Picture(make_pixels(20, 30, depth=depth)))
    sight = look_at(path, Limits())
    assert (sight.width, sight.height, sight.seconds) == (30, 20, None)


def test_a_clip_that_is_longer_than_it_says_is_ended(tmp_path, workshop, monkeypatch):
    make_clip(tmp_path / "clip.mkv", range(0, 2000, 40), codec="libx264", options={"crf": "40"})
    seen = serving_work.look_at(tmp_path / "clip.mkv", Limits())
    monkeypatch.setattr(serving_work, "look_at", lambda *_: seen)
    with pytest.raises(CommandError, match=r"clip.mkv lasts 0\.5 seconds"):
        workshop.work("visitor", tmp_path / "clip.mkv", CHOICE, silent)
    assert not any(workshop.folder.iterdir())


def test_progress_is_told(tmp_path, workshop, picture):
    told = []
    outcome = workshop.work("visitor", picture, CHOICE, told.append)
    assert told[-1] == 1.0
    assert (outcome.result.name, outcome.comparison.name) == ("in_espcn_x2.png", "in_espcn_x2.html")
    assert {path.name for path in outcome.result.parent.iterdir()} == {"in_espcn_x2.png", "in_espcn_x2.html"}
    make_clip(tmp_path / "clip.mkv", range(0, 400, 40), width=48, height=32)
    workshop.work("visitor", tmp_path / "clip.mkv", CHOICE, told.append)
    assert told[-10:] == [(done, 10) for done in range(1, 11)]


def test_networks_are_kept(workshop, picture):
    first = workshop.upscaler(**CHOICE)
    workshop.work("visitor", picture, CHOICE, silent)
    assert workshop.upscaler(**CHOICE) is first
    assert workshop.upscaler(**{**CHOICE, "scale": 3}) is not first


@pytest.mark.parametrize("end", ["stop", "leave", "close"])
def test_work_is_ended_by_its_visitor_and_by_the_end_of_the_page(workshop, picture, end, monkeypatch):
    def interrupt(_):
        getattr(workshop, end)(*([] if end == "close" else ["visitor"]))

    monkeypatch.setattr(serving_work, "PATIENCE", 0)
    workshop.arguments.tile = 8
    with pytest.raises(CommandError, match=r"^Stopped\.$"):
        workshop.work("visitor", picture, CHOICE, interrupt)
    assert not any(workshop.folder.iterdir())


def test_one_job_at_a_time(workshop, picture):
    at_work, most = set(), []

    def tell(_):
        at_work.add(threading.get_ident())
        most.append(len(at_work))
        time.sleep(0.02)
        at_work.discard(threading.get_ident())

    workshop.arguments.tile = 8
    threads = [threading.Thread(target=workshop.work, args=(str(number), picture, CHOICE, tell)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(most) == 1
    assert len(list(workshop.folder.iterdir())) == 3


def test_who_waits_can_stop_waiting(workshop, picture):
    begun, go_on, said = threading.Event(), threading.Event(), []

    def tell(_):
        begun.set()
        go_on.wait(LONG)

    def wait():
        try:
            workshop.work("second", picture, CHOICE, silent)
        except CommandError as error:
            said.append(str(error))

    first = threading.Thread(target=workshop.work, args=("first", picture, CHOICE, tell))
    second = threading.Thread(target=wait)
    first.start()
    assert begun.wait(LONG)
    second.start()
    while second.is_alive():
        workshop.stop("second")
        second.join(0.05)
    go_on.set()
    first.join()
    assert said == ["Stopped."]


def test_files_go_with_their_visitor_and_after_an_hour(workshop, picture, monkeypatch):
    uploads = [picture.rename(picture.with_name("a.png")), picture.with_name("b.png")]
    uploads[1].write_bytes(uploads[0].read_bytes())
    for session, upload in (("first", uploads[0]), ("second", uploads[0]), ("second", uploads[1])):
        workshop.look(session, upload)
        workshop.work(session, upload, CHOICE, silent)
    workshop.sweep()
    assert len(list(workshop.folder.iterdir())) == 3
    workshop.leave("second")
    assert [upload.exists() for upload in uploads] == [True, False]  # the other visitor has dropped that one, too
    (kept,) = workshop.folder.iterdir()
    assert workshop.file(kept.name, "a_espcn_x2.png") == kept / "a_espcn_x2.png"
    assert workshop.file(kept.name, "../workshop") is None
    (workshop.folder / "uploads" / "hash").mkdir(parents=True)
    monkeypatch.setattr(serving_work, "KEPT", -1)
    workshop.sweep()
    assert not any((workshop.folder / "uploads").iterdir())
    (workshop.folder / "uploads").rmdir()
    assert not any(workshop.folder.iterdir())
    assert workshop.file(kept.name, "a_espcn_x2.png") is None
    workshop.leave("first")
    assert not uploads[0].exists()
    with pytest.raises(CommandError, match=r"^a\.png is no longer here; drop it again\.$"):
        workshop.work("first", uploads[0], CHOICE, silent)
