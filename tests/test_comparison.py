"""The page of --compare and of the gallery: what is on it, when it is refused, and how it behaves in a browser."""

import base64
import re
from fractions import Fraction
from html import escape

import numpy as np
import pytest
from browser import Window
from clips import make_clip

import super_resolve
from common import cli, comparison, gallery
from common.gallery import Entry, Side, write_page
from common.images import Picture, write_picture
from common.networks import network
from common.weights import Weights, initial_tensors, save_weights

HOSTILE = "<img src=x onerror=alert(1)> & \"double\" 'single' {{version}}.png"


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """Weights of a small ESPCN x2."""
    spec = network("espcn", scale=2, widths=(4, 4))
    path = tmp_path_factory.mktemp("weights") / "espcn_x2.safetensors"
    save_weights(path, Weights("espcn", spec, initial_tensors(spec, 0)))
    return path


@pytest.fixture
def run(weights, capsys):
    """Calls the command with arguments; returns (exit code, stdout, stderr)."""

    def call(*arguments):
        try:
            code = super_resolve.main(["--scale=2", "--quiet", "--weights", str(weights), *map(str, arguments)])
        except SystemExit as stop:
            code = stop.code
        return (code, *capsys.readouterr())

    return call


@pytest.fixture
def picture(tmp_path, make_pixels):
    path = tmp_path / "in.png"
    write_picture(path, Picture(make_pixels(20, 30)))
    return path


@pytest.fixture
def entry(make_pixels):
    """An entry with three sides, the first two with a PSNR."""
    first, second, third = (make_pixels(120, 160, seed=seed) for seed in range(3))
    return Entry("bird.png", [Side("bicubic", first, 30.125), Side("ESPCN", second, 32.5), Side("original", third)])


def text_of(path):
    return path.read_text(encoding="utf-8")


def pictures_on(page):
    """The pictures stored on a page, decoded, in their order."""
    import io

    from PIL import Image

    found = re.findall(r'src="data:image/webp;base64,([^"]+)"', text_of(page))
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(data)))) for data in found]


# ---- What is on the page


def test_pictures_are_stored_without_loss(tmp_path, make_pixels):
    colour, deep, grey = make_pixels(9, 12), make_pixels(9, 12, depth=16), make_pixels(9, 12, 1)
    clear = Picture(colour, alpha=make_pixels(9, 12, 1)[..., 0])
    sides = [Side("a", colour), Side("b", deep), Side("c", grey), Side("d", grey[..., 0]), Side("e", clear)]
    write_page(tmp_path / "page.html", "Title", [Entry("name", sides)])
    first, second, third, fourth, fifth = pictures_on(tmp_path / "page.html")
    assert np.array_equal(first, colour)
    assert np.abs(second - deep / 257).max() <= 0.5
    assert np.array_equal(third, grey.repeat(3, axis=2))
    assert np.array_equal(fourth, third)
    assert np.array_equal(fifth, np.concatenate([colour, clear.alpha[..., None]], axis=2))


def test_nothing_on_the_page_comes_from_elsewhere(tmp_path, entry):
    write_page(tmp_path / "page.html", "Title", [entry])
    page = re.sub(r"data:[^\"]*", "", text_of(tmp_path / "page.html"))
    assert not re.search(r"https?:|//[a-z]|@import|<link[^>]*href=\"[^\"]", page)
    assert "default-src 'none'" in page


def test_names_are_shown_as_they_are(tmp_path, entry):
    write_page(tmp_path / "page.html", HOSTILE, [entry._replace(name=HOSTILE, caption=HOSTILE, sides=[
        Side(HOSTILE, side.content) for side in entry.sides])])  # fmt: skip
    page = text_of(tmp_path / "page.html")
    assert "<img src=x" not in page
    assert page.count(escape(HOSTILE)) >= 3
    write_page(tmp_path / "other.html", "\udcff.png", [entry])  # a name that is no valid Unicode


def test_figures_are_shown_where_they_are_known(tmp_path, entry):
    sides = [*entry.sides, Side("same", entry.sides[0].content, float("inf"))]
    write_page(tmp_path / "page.html", "Title", [entry._replace(sides=sides)])
    shown = re.findall(r"<dt>([^<]*)</dt><dd>([^<]*)</dd></div>", text_of(tmp_path / "page.html"))
    assert shown == [("bicubic", "30.12 dB"), ("ESPCN", "32.50 dB"), ("same", "identical")]


def test_of_a_large_picture_the_centre_is_shown(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "PIXELS", 600)
    pixels = np.arange(60 * 40 * 3).astype(np.uint8).reshape(60, 40, 3)
    write_page(tmp_path / "page.html", "Title", [Entry("name", [Side("a", pixels), Side("b", pixels)])])
    assert np.array_equal(pictures_on(tmp_path / "page.html")[0], pixels[15:45, 10:30])
    assert "the centre of 40 × 60 pixels" in text_of(tmp_path / "page.html")


def test_no_side_is_longer_than_the_format_allows():
    rows, columns = gallery.centre(10, 100_000)
    assert (rows, columns.stop - columns.start) == (slice(0, 10), gallery.LONGEST_SIDE)


def test_a_page_holds_so_many_entries(tmp_path, entry, monkeypatch):
    monkeypatch.setattr(gallery, "ENTRIES", 2)
    write_page(tmp_path / "page.html", "Title", [entry] * 5)
    assert text_of(tmp_path / "page.html").count("<section") == 2
    assert "2 of 5 are shown" in text_of(tmp_path / "page.html")


def test_what_cannot_be_compared_is_refused_and_nothing_written(tmp_path, entry):
    first, second, _ = entry.sides
    smaller = Side("small", second.content[:-1])
    for sides in ([], [first], [first, smaller], [first, Side("film", b"mp4")]):
        with pytest.raises(ValueError, match=re.escape(entry.name)):
            write_page(tmp_path / "page.html", "Title", [entry, entry._replace(sides=sides)])
    with pytest.raises(ValueError, match="nothing to compare"):
        write_page(tmp_path / "page.html", "Title", [])
    assert not any(tmp_path.iterdir())


# ---- The command


def test_a_picture_gets_its_page(run, picture, tmp_path):
    code, out, error = run(picture, "--compare", tmp_path / "page.html")
    assert (code, error) == (cli.DONE, "")
    assert out.splitlines() == [str(tmp_path / "in_espcn_x2.png")]
    bicubic, result, low = pictures_on(tmp_path / "page.html")
    assert bicubic.shape == result.shape == low.shape == (40, 60, 3)
    from common.images import read_picture
    from common.resize import resize

    assert np.array_equal(result, read_picture(tmp_path / "in_espcn_x2.png").pixels)
    assert np.abs(bicubic.astype(int) - resize(read_picture(picture).pixels, 2)).max() <= 1
    assert np.array_equal(low[::2, 1::2], read_picture(picture).pixels)


def test_of_a_large_picture_all_sides_show_the_same_part(run, picture, tmp_path, monkeypatch):
    run(picture, "--compare", tmp_path / "whole.html")
    monkeypatch.setattr(gallery, "PIXELS", 600)
    run(picture, "--compare", tmp_path / "part.html", "--overwrite")
    for whole, part in zip(pictures_on(tmp_path / "whole.html"), pictures_on(tmp_path / "part.html"), strict=True):
        assert np.array_equal(part, whole[10:30, 14:44])
    assert "the centre of 60 × 40 pixels" in text_of(tmp_path / "part.html")


def test_the_embedded_photograph_is_compared_with_the_original(run, tmp_path):
    code, _, error = run("--output", tmp_path / "out.png", "--compare", tmp_path / "page.html")
    assert (code, error) == (cli.DONE, "")
    page = text_of(tmp_path / "page.html")
    assert re.findall(r"<figcaption>([^<]*)", page) == ["bicubic", "ESPCN", "original", "input"]
    assert len(re.findall(r"<dd>\d+\.\d\d dB", page)) == 2


def test_a_folder_gets_one_page(run, picture, tmp_path, make_pixels, monkeypatch):
    folder = tmp_path / "pictures"
    for name in ("a", "b", "c"):
        write_picture(folder / f"{name}.png", Picture(make_pixels(8, 9)))
    (folder / "d.png").write_bytes(b"no picture")
    monkeypatch.setattr(gallery, "ENTRIES", 2)
    code, _, error = run(folder, "--output", tmp_path / "out", "--compare", tmp_path / "page.html")
    assert code == cli.FAILED  # for the damaged one
    assert text_of(tmp_path / "page.html").count("<section") == 2
    assert f"Warning: {tmp_path / 'page.html'}: 2 of 3 are shown." in error.splitlines()


def films_on(page):
    return [base64.b64decode(data) for data in re.findall(r'src="data:video/mp4;base64,([^"]+)"', text_of(page))]


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le", "gray", "yuva420p"])
def test_a_film_gets_its_page(run, tmp_path, pixel_format):
    import av

    source, times = tmp_path / "in.mkv", [100, 140, 200, 210]
    make_clip(source, times, width=51, height=33, pixel_format=pixel_format, codec="ffv1")
    code, _, error = run(source, "--compare", tmp_path / "page.html", "--codec", "ffv1")
    assert code == cli.DONE
    assert ("Transparency is not shown" in error) == (pixel_format == "yuva420p")
    films = films_on(tmp_path / "page.html")
    assert len(films) == 2
    for number, film in enumerate(films):
        path = tmp_path / f"{number}.mp4"
        path.write_bytes(film)
        with av.open(path) as container:
            frames = list(container.decode(video=0))
            assert container.streams.video[0].codec.canonical_name == "h264"
        assert [frame.format.name for frame in frames] == ["yuv420p"] * 4
        assert [round(frame.time * 1000) for frame in frames] == [0, 40, 100, 110]


def test_of_a_long_film_the_beginning_is_shown(run, tmp_path, monkeypatch):
    import av

    monkeypatch.setattr(comparison, "SECONDS", Fraction(1, 5))
    monkeypatch.setattr(gallery, "PIXELS", 3000)
    make_clip(tmp_path / "in.mkv", range(0, 480, 40))
    code, _, error = run(tmp_path / "in.mkv", "--compare", tmp_path / "page.html")
    assert code == cli.DONE
    for sentence in ("Only the first 0.2 seconds are shown.", "Shown is the centre of 128 × 96 pixels."):
        assert sentence in text_of(tmp_path / "page.html")
        assert f"Warning: {tmp_path / 'page.html'}: {sentence}" in error
    (tmp_path / "part.mp4").write_bytes(films_on(tmp_path / "page.html")[0])
    with av.open(tmp_path / "part.mp4") as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 5
    assert (frames[0].width, frames[0].height) == (60, 44)


@pytest.mark.parametrize("name", ["page.png", "page", "html", "page.html.json"])
def test_a_page_that_is_no_page_is_wrong_usage(run, picture, tmp_path, name):
    code, out, error = run(picture, "--compare", tmp_path / name)
    assert (code, out) == (cli.USAGE, "")
    assert ".html" in error
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]


def test_an_existing_page_is_refused_unless_asked(run, picture, tmp_path):
    page = tmp_path / "page.html"
    page.write_text("precious")
    code, _, error = run(picture, "--compare", page)
    assert code == cli.FAILED
    assert "--overwrite" in error
    assert page.read_text() == "precious"
    assert not (tmp_path / "in_espcn_x2.png").exists()  # noticed before the work
    assert run(picture, "--compare", page, "--overwrite")[0] == cli.DONE
    assert pictures_on(page)


def test_the_page_is_neither_the_input_nor_the_output(run, picture, tmp_path):
    page = picture.rename(tmp_path / "in.html")  # what a file is, is told by its first bytes
    before = page.read_bytes()
    (tmp_path / "hard.htm").hardlink_to(page)
    for name, source, target in (
        ("in.html", page, "out.png"),
        ("hard.htm", page, "out.png"),
        ("results.html", tmp_path, "results.html"),
    ):
        line = [source, "--compare", tmp_path / name, "--output", tmp_path / target, "--overwrite"]
        code, _, error = run(*line)
        assert code == cli.FAILED
        assert "input or the output" in error
    assert page.read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hard.htm", "in.html"]


def test_a_page_that_cannot_be_written_is_noticed_before_the_work(run, picture, tmp_path):
    code, _, error = run(picture, "--compare", picture / "page.html")
    assert code == cli.FAILED
    assert "cannot be written there" in error
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]


def test_a_failure_leaves_no_page(run, tmp_path, picture, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("common.files.put_in_place", full)
    code, _, error = run(picture, "--compare", tmp_path / "page.html")
    assert code == cli.FAILED
    assert len(error.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.png"]


# ---- In a browser


class Shown(Window):
    """A page of a comparison in a browser."""

    def __init__(self, browser, path, width=1200, height=800, density=1):
        super().__init__(browser, path.as_uri(), width, height, density)
        self.wait("return [...document.images].every(image => image.complete)")

    def press(self, *keys):
        from selenium.webdriver.common.keys import Keys

        self.find(".divider input").send_keys(*[getattr(Keys, key, key) for key in keys])

    @property
    def divider(self):
        """Where the line is, as a fraction of the stage, which must agree with where the right side begins."""
        line, clip = self.ask("""
            const stage = document.querySelector(".stage"), line = document.querySelector(".divider");
            return [parseFloat(getComputedStyle(line, "::before").left) / stage.clientWidth,
                    getComputedStyle(stage.querySelector(".right")).clipPath];
        """)
        left = float(re.fullmatch(r"inset\(0(?:px|%)? 0(?:px|%)? 0(?:px|%)? ([\d.]+)px\)", clip)[1])
        assert left / self.ask("return document.querySelector('.stage').clientWidth") == pytest.approx(line, abs=1e-3)
        return line

    @property
    def factor(self):
        return int(self.find(".factor").text.removesuffix(" %"))

    @property
    def names(self):
        """Names of the left and right sides as chosen, which must be those that are seen."""
        chosen = self.ask("return [...document.querySelectorAll('select')].map(s => s.selectedOptions[0].text)")
        seen = self.ask("return ['left', 'right'].map(e => document.querySelector(`.${e} figcaption`).textContent)")
        assert chosen == seen
        assert self.ask("return document.querySelectorAll('.side:not([hidden])').length") == 2
        return chosen

    def touch(self, kind, *points):
        self.tell("Input.dispatchTouchEvent", type=kind, touchPoints=[{"x": x, "y": y} for x, y in points])


@pytest.fixture
def page(tmp_path, entry):
    write_page(tmp_path / "page.html", "Birds", [entry])
    return tmp_path / "page.html"


def test_a_page_loads_with_no_request_and_no_complaint(chromium, page):
    shown = Shown(chromium, page)
    assert shown.ask("return document.images.length") == 3
    assert shown.ask("return [...document.images].every(image => image.naturalWidth == 160)")
    assert {url.split(":")[0] for url in shown.requests} == {"file", "data"}
    assert chromium.get_log("browser") == []


def test_the_policy_of_a_page_forbids_the_network_and_other_scripts(chromium, page):
    shown = Shown(chromium, page)
    violated = chromium.execute_async_script("""
        const done = arguments[0], seen = [];
        document.addEventListener("securitypolicyviolation", event => {
            seen.push(event.effectiveDirective);
            if (seen.length == 3) done(seen.sort());
        });
        document.body.append(Object.assign(new Image(), { src: "http://127.0.0.1:9/a.png" }));
        document.body.append(Object.assign(document.createElement("script"), { textContent: "window.ran = 1" }));
        fetch("http://127.0.0.1:9/").catch(() => {});
    """)
    assert violated == ["connect-src", "img-src", "script-src-elem"]
    assert shown.ask("return window.ran") is None


def test_a_hostile_name_is_only_text(chromium, tmp_path, entry):
    write_page(tmp_path / "page.html", HOSTILE, [entry._replace(name=HOSTILE)])
    shown = Shown(chromium, tmp_path / "page.html")
    assert shown.find("h1").text == HOSTILE
    assert chromium.title == HOSTILE
    assert shown.ask("return document.images.length") == 3


def test_the_slider_by_keyboard(chromium, page):
    shown = Shown(chromium, page)
    assert shown.divider == pytest.approx(0.5, abs=0.01)
    shown.press("ARROW_LEFT", "ARROW_LEFT")
    left = shown.divider
    assert left < 0.5
    shown.press("ARROW_RIGHT")
    assert left < shown.divider < 0.5
    first, seen = shown.ask("""
        const { style, clientWidth } = document.querySelector(".stage");
        return ["--first", "--shown"].map(name => parseFloat(style.getPropertyValue(name)) / clientWidth);
    """)
    shown.press("HOME")
    assert shown.divider == pytest.approx(first, abs=2e-3)
    assert shown.find(".divider input").get_attribute("aria-valuetext") == "0 % bicubic, 100 % ESPCN"
    shown.press("END")
    assert shown.divider == pytest.approx(first + seen, abs=2e-3)


def test_the_slider_by_mouse(chromium, page):
    from selenium.webdriver.common.action_chains import ActionChains

    shown = Shown(chromium, page)
    stage, handle = shown.find(".stage"), shown.find(".divider input")
    ActionChains(chromium).move_to_element_with_offset(stage, -150, 40).click().perform()
    assert shown.divider == pytest.approx(0.5 - 150 / stage.size["width"], abs=5e-3)
    ActionChains(chromium).move_to_element_with_offset(handle, -150, 0).click_and_hold().move_by_offset(
        250, 0).release().perform()  # fmt: skip
    assert shown.divider == pytest.approx(0.5 + 100 / stage.size["width"], abs=1e-2)


def test_the_slider_by_touch(chromium, page):
    shown = Shown(chromium, page, 360, 640, 2)
    shown.tell("Emulation.setTouchEmulationEnabled", enabled=True)
    left, top, width = shown.ask("const b = document.querySelector('.stage').getBoundingClientRect(); "
                                 "return [b.left, b.top, b.width]")  # fmt: skip
    x, y = left + width / 2 + 60, top + 30
    shown.touch("touchStart", (x, y))
    for step in range(1, 11):
        shown.touch("touchMove", (x - 12 * step, y))
    shown.touch("touchEnd")
    shown.wait("return document.querySelector('.divider input').value < 40")
    assert shown.divider == pytest.approx((x - 120 - left) / width, abs=0.02)
    shown.touch("touchStart", (left + width * 0.7, y))
    shown.touch("touchEnd")
    shown.wait("return document.querySelector('.divider input').value > 60")
    before = shown.factor
    shown.touch("touchStart", (x - 20, y), (x + 20, y))
    for step in range(1, 11):
        shown.touch("touchMove", (x - 20 - 4 * step, y), (x + 20 + 4 * step, y))
    shown.touch("touchEnd")
    shown.tell("Emulation.setTouchEmulationEnabled", enabled=False)
    shown.wait("return document.querySelector('.stage.zoomed')")
    assert shown.factor > 1.5 * before


def test_zoom_and_pan(chromium, page):
    from selenium.webdriver.common.action_chains import ActionChains

    shown = Shown(chromium, page)
    place = "const b = document.querySelector('.left img').getBoundingClientRect(); return [b.left, b.top, b.width]"
    fitted = shown.factor
    assert shown.ask(place)[2] == pytest.approx(160 * fitted / 100, abs=1)
    shown.find(".in").click()
    assert shown.factor > fitted
    assert shown.ask(place)[2] == pytest.approx(160 * shown.factor / 100, abs=1)
    assert shown.ask("return getComputedStyle(document.querySelector('.left img')).imageRendering") == "pixelated"
    shown.press("+", "+")
    zoomed, before = shown.factor, shown.ask(place)
    assert zoomed > fitted * 2
    ActionChains(chromium).move_to_element_with_offset(shown.find(".stage"), -200, 50).click_and_hold().move_by_offset(
        70, -30).release().perform()  # fmt: skip
    after = shown.ask(place)
    assert (after[0] - before[0], after[1] - before[1]) == (pytest.approx(70, abs=2), pytest.approx(-30, abs=2))
    shown.press("SHIFT", "ARROW_LEFT")
    assert shown.ask(place)[0] > after[0]
    assert shown.divider == pytest.approx(0.5, abs=0.01)  # it is the picture that was moved
    sides = shown.ask("return ['left', 'right'].map(end => { const b = document.querySelector(`.${end} img`)"
                      ".getBoundingClientRect(); return [b.left, b.top, b.width] })")  # fmt: skip
    assert sides[0] == sides[1]
    shown.press("-")
    assert shown.factor < zoomed
    shown.find(".whole").click()
    assert shown.factor == 100
    shown.find(".fit").click()
    assert shown.factor == fitted


def test_the_choice_of_sides(chromium, page):
    shown = Shown(chromium, page)
    assert shown.names == ["bicubic", "ESPCN"]
    shown.find(".choose-right").send_keys("original")
    assert shown.names == ["bicubic", "original"]
    shown.find(".choose-left").send_keys("original")  # they change places
    assert shown.names == ["original", "bicubic"]
    assert shown.find(".divider input").accessible_name == "Divider between original and bicubic"


def test_what_a_screen_reader_is_told(chromium, page):
    shown = Shown(chromium, page)
    nodes = shown.tell("Accessibility.getFullAXTree")["nodes"]
    told = [(n["role"]["value"], n["name"]["value"]) for n in nodes if not n["ignored"] and "name" in n]
    for expected in (
        ("heading", "Birds"), ("heading", "bird.png"), ("image", "bird.png, bicubic"), ("image", "bird.png, ESPCN"),
        ("slider", "Divider between bicubic and ESPCN"), ("combobox", "Left side"), ("combobox", "Right side"),
        ("group", "Zoom"), ("button", "Zoom in"), ("button", "Zoom out"),
    ):  # fmt: skip
        assert expected in told
    assert ("image", "bird.png, original") not in told  # it is not seen
    assert all(name for role, name in told if role in ("button", "slider", "combobox", "image"))


@pytest.mark.parametrize("width", [320, 360, 1200])
def test_nothing_overflows(chromium, tmp_path, entry, width):
    long = entry._replace(name="a_very_long_name_without_a_single_gap_" * 4 + ".png", caption="word " * 40)
    long.sides[2] = Side("a label that is longer than most are", long.sides[2].content, 33.0)
    write_page(tmp_path / "page.html", "many", [long, entry])
    shown = Shown(chromium, tmp_path / "page.html", width, 640)
    shown.find(".choose-right").send_keys("a label")
    assert shown.ask("return document.documentElement.scrollWidth <= window.innerWidth")
    assert [row.text for row in chromium.find_elements("css selector", ".figures dd")][0] == "30.12 dB"
    assert shown.find(".figures").text.startswith("PSNR")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_in_both_schemes(chromium, page, scheme):
    shown = Shown(chromium, page)
    shown.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    for selector in ("h1", "h2", ".caption, .figures", "select", ".factor", ".fit", "footer p"):
        colours = shown.ask("""
            let element = document.querySelector(arguments[0]), ground;
            const ink = getComputedStyle(element).color;
            do { ground = getComputedStyle(element).backgroundColor; element = element.parentElement; }
            while (ground === "rgba(0, 0, 0, 0)");
            return [ink, ground];
        """, selector)  # fmt: skip
        light, dark = sorted((luminance(colour) for colour in colours), reverse=True)
        assert (light + 0.05) / (dark + 0.05) >= 4.5, (selector, colours)
    shown.tell("Emulation.setEmulatedMedia", features=[])


def luminance(colour):
    """Relative luminance of "rgb(...)", as the Web Content Accessibility Guidelines define it."""
    values = np.array([int(part) for part in re.findall(r"\d+", colour)[:3]]) / 255
    linear = np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_a_page_without_scripts_shows_all_sides(chromium, page):
    chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        shown = Shown(chromium, page, 360, 640)
        sizes = [image.size["height"] for image in chromium.find_elements("css selector", "img")]
        assert len(sizes) == 3
        assert min(sizes) > 100
        assert shown.find("figcaption").text == "bicubic"
    finally:
        chromium.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def test_two_films_are_shown_as_one(chromium, run, tmp_path):
    make_clip(tmp_path / "in.mkv", range(0, 2000, 40))
    assert run(tmp_path / "in.mkv", "--compare", tmp_path / "page.html")[0] == cli.DONE
    shown = Shown(chromium, tmp_path / "page.html", 360, 640)
    times = "return [...document.querySelectorAll('video')].map(video => video.currentTime)"
    settled = "return [...document.querySelectorAll('video')].every(v => v.readyState >= 2 && !v.seeking && v.paused)"
    shown.wait(settled)
    assert shown.ask("return [...document.querySelectorAll('video')].map(v => [v.videoWidth, v.videoHeight])") == [
        [128, 96]] * 2  # fmt: skip
    assert shown.find(".time").text == "0.0 s of 2.0 s"
    shown.find(".seek").send_keys("\ue014" * 20)  # arrow right
    shown.wait(settled)
    first, second = shown.ask(times)
    assert first == second > 0.5
    shown.find(".toggle").click()
    assert shown.find(".toggle").accessible_name == "Pause"
    shown.wait(f"return [...document.querySelectorAll('video')].every(v => v.currentTime > {first} + 0.1)")
    shown.press(" ")
    assert shown.find(".toggle").accessible_name == "Play"
    shown.wait(settled)
    first, second = shown.ask(times)
    assert first == second
    assert shown.ask("return document.documentElement.scrollWidth <= window.innerWidth")
    assert {url.split(":")[0] for url in shown.requests} <= {"file", "data", "blob"}
    assert chromium.get_log("browser") == []
