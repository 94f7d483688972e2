"""The local page of `super_resolve.py --serve`: a server for this machine that asks nothing of any other.

The page itself is in `serving_page.py`, the work behind it in `serving_work.py`. Nothing is sent or loaded from
elsewhere: a security policy forbids the browser to, and all that could report or look for news is switched off.
"""

import errno
import importlib.util
import os
import socket
import tempfile
import threading
from contextlib import contextmanager

from common import cli
from common.errors import CommandError, UsageError, sentence
from common.weights import weights_for

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PORT = 7860
SWEEP_EVERY = 60.0  # seconds
GRACE = 1  # seconds that open connections are given at the end
QUIET = {"GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
# Gradio builds its scripts and styles as it goes.
POLICY = (
    "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; frame-ancestors 'self'; base-uri 'self'; "
    "form-action 'self'"
)
HEADERS = {"Content-Security-Policy": POLICY, "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"}
# What of the command line is for the page and all that is enlarged there; other flags speak of one picture or clip.
OF_THE_PAGE = ("serve", "host", "port", "jobs", "quiet", "debug", "threads")
OF_ALL_JOBS = ("model", "scale", "framework", "device", "precision", "tile")


def serve(arguments, enlarge):
    """Offer the page until it is interrupted. `enlarge`: see `serving_work.Workshop`.

    arguments: of `super_resolve.py`; the network, scale, framework and precision among them are chosen at first.
    Raises UsageError for flags that make no sense here, CommandError if the page cannot be offered.
    """
    for flag, value in vars(arguments).items():
        if flag not in (*OF_THE_PAGE, *OF_ALL_JOBS) and value is not None and value is not False:  # but 0 is a --crf
            what = "An input" if flag == "bare" else f"--{flag}"
            raise UsageError(f"{what} has no place beside --serve.")
    if importlib.util.find_spec("gradio") is None:
        raise CommandError("The page needs Gradio: pip install 'video-super-resolution[demo]'.")
    weights_for(arguments.model, arguments.scale)  # says which there are, if not these
    host, port = arguments.host or LOOPBACK[0], PORT if arguments.port is None else arguments.port
    with listen(host, port) as listener, scratch() as folder:
        from common.serving_work import Limits, Workshop

        cli.use_threads(arguments)
        workshop = Workshop(folder, arguments, enlarge, Limits())
        host, port = listener.getsockname()[:2]
        app = application(workshop, host)
        print(f"http://{f'[{host}]' if ':' in host else host}:{port} is open; Ctrl-C closes it.", flush=True)
        try:
            run(app, listener, workshop)
        except KeyboardInterrupt:  # is how it is meant to end
            pass
        finally:
            workshop.close()
        print("The page is closed.")


def listen(host, port):
    """A socket that listens at `host` and `port`, 0 for any that is free. Raises CommandError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CommandError(f"Port {port} of {host} is taken; --port names another, 0 any free one.") from None
        raise CommandError(f"{host} port {port} cannot be used: {sentence(error)}") from None


@contextmanager
def scratch():
    """A folder, removed at the end, for everything temporary of this process, uploads among it."""
    from common.serving_work import UPLOADS

    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="super_resolve_", ignore_cleanup_errors=True) as folder:
        os.environ.update(QUIET, GRADIO_TEMP_DIR=os.path.join(folder, UPLOADS))
        tempfile.tempdir = folder
        try:
            yield folder
        finally:
            tempfile.tempdir = before


def application(workshop, host):
    """The ASGI application: the page, and beside it the files that `workshop` has made."""
    import gradio
    from fastapi import FastAPI, HTTPException
    from fastapi.responses import FileResponse
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from common import serving_page

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    if host in LOOPBACK:  # a page elsewhere could give itself a name that leads here
        app.add_middleware(TrustedHostMiddleware, allowed_hosts=[*LOOPBACK, "[::1]"])
    app.add_middleware(Headers)

    @app.get(serving_page.RESULTS + "/{folder}/{name}")
    def result(folder, name):
        if path := workshop.file(folder, name):
            return FileResponse(path)
        raise HTTPException(404, "This file is no longer here.")

    page = serving_page.page(workshop)
    limit = int(workshop.limits.megabytes * 1e6)
    return gradio.mount_gradio_app(
        app, page, "/", max_file_size=limit, footer_links=[], run_history=False, ssr_mode=False, pwa=False,
        mcp_server=False, theme=serving_page.theme(), css=serving_page.STYLE, head=serving_page.HEAD,
    )  # fmt: skip


class Headers:
    """Adds HEADERS to every answer of an ASGI application."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        async def send_with_headers(message):
            if message["type"] == "http.response.start":
                more = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
                message = {**message, "headers": [*message["headers"], *more]}
            await send(message)

        await self.app(scope, receive, send_with_headers)


def run(app, listener, workshop):
    """Answer at the socket `listener` until interrupted; old results are removed meanwhile."""
    import uvicorn

    class Server(uvicorn.Server):
        async def shutdown(self, sockets=None):
            app.routes[-1].app.stop_event.set()  # or Gradio would hold the connection to every open page
            await super().shutdown(sockets)

    ended = threading.Event()

    def sweep():
        while not ended.wait(SWEEP_EVERY):
            workshop.sweep()

    threading.Thread(target=sweep, daemon=True).start()
    log_level = "error" if workshop.arguments.debug else "critical"
    try:
        Server(uvicorn.Config(app, log_level=log_level, timeout_graceful_shutdown=GRACE)).run(sockets=[listener])
    finally:
        ended.set()
