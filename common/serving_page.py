"""What the local page shows: a place to drop a picture or a clip, the choices, progress, and the result.

Before and after are compared on the page that --compare writes, shown inside this one.
"""

import importlib.util
from html import escape
from urllib.parse import quote

import gradio

from common.backend import FRAMEWORKS
from common.errors import CommandError
from common.networks import NETWORKS
from common.serving_work import STOPPED
from common.weights import shipped_scales

RESULTS = "/results"  # where results lie in addresses
PRECISIONS = ("auto", "fp32", "bf16", "fp16")
ABOUT = "Pictures and short clips, larger and sharper. All work is done on the machine that offers this page."
GOOD_FOR = {"srcnn": "the first", "espcn": "fast", "vespcn": "for clips", "drcn": "slow", "srresnet": "sharp, slow"}
PROGRESS = gradio.Progress()  # as a default it asks for the one of the call
AT_ONCE = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}


def page(workshop):
    """The page as `gradio.Blocks`, whose work `workshop`, a `serving_work.Workshop`, does."""
    first, visit = workshop.arguments, Visit(workshop)
    models = [(worded(name), name) for name in NETWORKS if shipped_scales(name)]
    frameworks = [name for name in FRAMEWORKS if importlib.util.find_spec(name)]
    with gradio.Blocks(title="Super-resolution", analytics_enabled=False) as blocks:
        gradio.HTML(f"<h1>Super-resolution</h1><p>{ABOUT}</p>", elem_id="head")
        upload = gradio.File(label="Picture or clip", height=150, elem_id="upload")
        seen = gradio.HTML(visit.taken, elem_id="seen")
        with gradio.Row(elem_id="choices"):
            model = choice("Network", models, first.model)
            scale = choice("Scale", factors(first.model), first.scale)
            framework = choice("Framework", frameworks, first.framework)
            precision = choice("Precision", list(PRECISIONS), first.precision)
        with gradio.Row():
            start = gradio.Button("Enlarge", variant="primary", elem_id="start", scale=0, min_width=150)
            stop = gradio.Button("Stop", elem_id="stop", scale=0, min_width=110, interactive=False)
        result = gradio.HTML(elem_id="result", min_height=120)

        upload.change(visit.look, upload, [seen, result], **AT_ONCE)
        model.change(other_scales, [model, scale], scale, **AT_ONCE)
        choices, buttons = [model, scale, framework, precision], [start, stop]
        in_turn = {"concurrency_limit": workshop.most, "api_visibility": "private"}
        started = start.click(working, None, buttons, **AT_ONCE)
        work = started.then(visit.work, [upload, *choices], result, **in_turn)
        work.then(resting, None, buttons, **AT_ONCE)
        stop.click(visit.stop, None, [result, *buttons], cancels=[work], **AT_ONCE)
        blocks.unload(visit.leave)
    return blocks


class Visit:
    """What the page does for whoever looks at it."""

    def __init__(self, workshop):
        self.workshop = workshop
        self.taken = quiet(f"Up to {workshop.limits}.")

    def look(self, upload, request: gradio.Request):
        """(what is said of the file, what is left of the result of the one before)."""
        if upload is None:
            return self.taken, ""
        try:
            return quiet(f"{self.workshop.look(request.session_hash, upload)}."), ""
        except CommandError as error:
            return alert(error), ""

    def work(self, upload, model, scale, framework, precision, request: gradio.Request, progress=PROGRESS):
        """The result, or why there is none."""
        if upload is None:
            return alert("Drop a picture or a clip first.")
        chosen = {"model": model, "scale": scale, "framework": framework, "precision": precision}
        progress(0, desc=f"{model} x{scale}")
        try:
            return result_of(self.workshop.work(request.session_hash, upload, chosen, progress))
        except CommandError as error:
            return alert(error)

    def stop(self, request: gradio.Request):
        self.workshop.stop(request.session_hash)
        return alert(STOPPED), *resting()

    def leave(self, request: gradio.Request):
        self.workshop.leave(request.session_hash)


def choice(label, values, value):
    return gradio.Dropdown(values, value=value, label=label, filterable=False, min_width=130)


def worded(model):
    """The name of a network with what it is good for."""
    return f"{model} ({GOOD_FOR[model]})" if model in GOOD_FOR else model


def factors(model):
    """The scales of a network as choices."""
    return [(f"×{scale}", scale) for scale in shipped_scales(model)]


def other_scales(model, scale):
    """The choice of scales for another network: that of before, if it has it."""
    known = shipped_scales(model)
    return gradio.update(choices=factors(model), value=scale if scale in known else known[0])


def working():
    """The buttons "Enlarge" and "Stop" while there is work."""
    return gradio.update(interactive=False), gradio.update(interactive=True)


def resting():
    """... and while there is none."""
    return gradio.update(interactive=True), gradio.update(interactive=False)


def quiet(text):
    return f'<p class="quiet">{escape(str(text))}</p>'


def alert(text):
    return f'<p class="alert" role="alert">{escape(str(text))}</p>'


def result_of(done):
    """An `Outcome` as HTML: links to the files, how it was done, and before and after."""
    result, comparison = (
        escape(f"{RESULTS}/{quote(path.parent.name)}/{quote(path.name)}") for path in (done.result, done.comparison)
    )
    warnings = "".join(f"<li>{escape(warning)}</li>" for warning in done.warnings)
    return f"""
<p class="links">
<a href="{result}" download>Download {escape(done.result.name)} <span>{megabytes(done.result)}</span></a>
<a href="{comparison}" download>Download the comparison</a>
</p>
<p class="quiet" role="status">{escape(done.summary)}</p>
{f'<ul class="quiet">{warnings}</ul>' if warnings else ""}
<iframe title="Before and after" src="{comparison}" onload="fitted(this)"></iframe>
"""


def megabytes(path):
    size = path.stat().st_size / 1e6
    return f"{size:.1f} MB" if size >= 1 else f"{1000 * size:.0f} kB"


def theme():
    """The look of the page that compares: its colours, and the fonts that every machine has."""
    look = gradio.themes.Base(neutral_hue="stone", primary_hue="stone", font=FONTS, font_mono=["monospace"])
    for names, light, dark in COLOURS:
        look.set(**{name + kind: tone for name in names for kind, tone in (("", light), ("_dark", dark))})
    return look


FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Noto Sans", "Liberation Sans", "sans-serif"]
COLOURS = (  # in light and dark
    (["body_background_fill"], "#fafaf8", "#141415"),
    (["body_text_color", "button_secondary_text_color"], "#1c1c1a", "#ededeb"),
    (["body_text_color_subdued", "block_label_text_color", "block_title_text_color"], "#63625d", "#a3a29d"),
    (["block_background_fill", "block_label_background_fill"], "#ffffff", "#212123"),
    (["block_border_color"], "#dddcd6", "#323235"),
    (["input_background_fill"], "#f4f3ef", "#141415"),
    (["button_primary_background_fill"], "#1c1c1a", "#ededeb"),
    (["button_primary_background_fill_hover"], "#3d3c38", "#ffffff"),
    (["button_primary_text_color"], "#ffffff", "#141415"),
    (["button_secondary_background_fill"], "#ecebe7", "#323235"),
    (["button_secondary_background_fill_hover"], "#dddcd6", "#45454a"),
)
STYLE = """
html { scrollbar-gutter: stable; }
.gradio-container { max-width: 75rem !important; margin: 0 auto; }
.gradio-container .html-container { padding: 0; }
.gradio-container p { margin: .25rem 0 0; overflow-wrap: anywhere; }
.gradio-container :focus-visible { outline: 2px solid #0a5ad0; outline-offset: 2px; }
#head h1 { margin: 0; font-size: 1.625rem; font-weight: 600; line-height: 1.25; letter-spacing: -.015em; }
.quiet { color: var(--body-text-color-subdued); font-size: .875rem; }
.alert { padding: .625rem .875rem; border-left: 3px solid #b3261e; background: var(--block-background-fill); }
#result ul { margin: .25rem 0 0; padding-left: 1.25rem; list-style: disc; overflow-wrap: anywhere; }
#result .links { display: flex; flex-wrap: wrap; gap: .5rem; }
#result .links a {
  padding: .5rem .875rem; border-radius: 6px; text-decoration: none;
  background: var(--button-secondary-background-fill); color: var(--button-secondary-text-color);
}
#result .links a:first-child {
  background: var(--button-primary-background-fill); color: var(--button-primary-text-color);
}
#result .links span { color: inherit; opacity: .75; }
#result iframe {
  display: block; width: calc(100% + 2.5rem); height: 85vh; margin: 0 -1.25rem; border: 0; color-scheme: light dark;
}
@media (max-width: 30rem) {
  #result .links a { flex: 1 1 auto; text-align: center; }
  #result iframe { width: calc(100% + 2rem); margin: 0 -1rem; }
}
"""
# The frame becomes as high as what it shows.
HEAD = """<script>
function fitted(frame) {
  const body = frame.contentDocument.body;
  new ResizeObserver(() => { frame.style.height = `${body.getBoundingClientRect().height}px`; }).observe(body);
}
</script>"""
