"""The page itself: what is shown where, and which part of the engine answers."""

import functools
import html
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gradio as gr
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware

from hrnet_tf.app.choices import Choice
from hrnet_tf.app.engine import Engine, PhotoResult, Settings, Stopped, VideoResult
from hrnet_tf.errors import InputError

# Rows of a table at most; the files have all.
_MAX_ROWS = 2000
_KEYPOINT_COLUMNS = ["person", "keypoint", "x", "y", "score"]
_TRACK_COLUMNS = ["track_id", "from second", "to second", "frames"]
_PHOTO_WANTED = "Drop a photograph, or take one. It stays on this machine."
_HEIGHT = 480  # of pictures, in pixels
_PROGRESS = gr.Progress()  # as a default it says that the function tells of its progress
_UPLOAD_FOLDER = re.compile(r"\S+/uploads/\w+/")
_POLICY = "default-src 'self' data: blob: 'unsafe-inline' 'unsafe-eval'"
_CSS = """
.message { padding: .55rem .9rem; border: 1px solid var(--border-color-primary); border-radius: .5rem;
           background: var(--block-background-fill); overflow-wrap: anywhere; }
.message.wrong { border-color: #e5a3a3; background: #fdecec; color: #8a1c1c; }
.dark .message.wrong { border-color: #8a3a3a; background: #431414; color: #ffd9d9; }
[id$=_message] .html-container { padding: 0; }
/* Cutting a video would fetch a program from elsewhere. */
[aria-label^="Trim video"], [aria-label^="Reset video"] { display: none; }
.title h1 { font-size: 1.5rem; margin: 0; }
.title p { margin: 0; color: var(--body-text-color-subdued); }
"""


def make_page(engine: Engine, networks: Sequence[Choice], detectors: Sequence[Choice]) -> gr.Blocks:
    """Builds the page.

    Args:
        engine: what predicts.
        networks, detectors: what can be chosen, the first by default.
    """
    with gr.Blocks(title="HRNet pose", analytics_enabled=False, fill_width=True) as page:
        gr.Markdown("# HRNet pose\nKeypoints of people in photographs and videos.", elem_classes="title")
        with gr.Row():
            chosen = [
                gr.Dropdown(networks, value=networks[0][1], label="Network", elem_id="network"),
                gr.Dropdown(detectors, value=detectors[0][1], label="Detector", elem_id="detector"),
                gr.Slider(0, 1, Settings.box_threshold, step=0.05, label="Box threshold"),
                gr.Slider(0, 1, Settings.score_threshold, step=0.05, label="Keypoint threshold"),
            ]
        with gr.Tab("Photo"):
            _photo_tab(engine, chosen)
        with gr.Tab("Video"):
            _video_tab(engine, chosen)
    return page


def launch_options() -> dict[str, Any]:
    """How the page looks, for `Blocks.launch`, without anything from elsewhere: fonts are those of the system."""
    theme = gr.themes.Soft(
        primary_hue="sky",
        neutral_hue="slate",
        font=["ui-sans-serif", "system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    return {"theme": theme, "css": _CSS, "footer_links": [], "app_kwargs": {"middleware": [Middleware(_FromHereAlone)]}}


class _FromHereAlone:
    """Has browsers refuse whatever the page would fetch from another place."""

    def __init__(self, app: Any):
        self._app = app

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def send_with_policy(message):
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = _POLICY
            await send(message)

        await self._app(scope, receive, send_with_policy)


def _photo_tab(engine: Engine, chosen: list[gr.components.Component]) -> None:
    seen = gr.State()  # what the heatmap is of: path, boxes, settings
    with gr.Row():
        with gr.Column():
            message = gr.HTML(_said(_PHOTO_WANTED), elem_id="photo_message")
            photo = gr.Image(
                type="filepath", show_label=False, sources=["upload", "webcam", "clipboard"], height=_HEIGHT
            )
            button = gr.Button("Predict", variant="primary")
        with gr.Column():
            with gr.Tab("People"):
                picture = _picture("people", _HEIGHT)
            with gr.Tab("Heatmap") as heatmap_tab:
                heatmap = _picture("heatmap", _HEIGHT - 60)
                keypoint = gr.Dropdown([], show_label=False, container=False, elem_id="keypoint")
            downloads = _download_buttons("Annotated picture")
    table = gr.Dataframe(headers=_KEYPOINT_COLUMNS, interactive=False, max_height=320, elem_id="keypoints")
    outputs = [message, picture, keypoint, heatmap, table, seen, *downloads]
    _take_as_uploaded(photo)

    @_told_in(message, outputs)
    def predict(path, *values):
        if path is None:
            return {message: _said(_PHOTO_WANTED)}
        settings, start = Settings(*values), time.perf_counter()
        found = engine.photo(path, settings)
        names = list(found.people.skeleton.names)
        return {
            message: _photo_message(found, settings, time.perf_counter() - start),
            picture: str(found.picture),
            keypoint: gr.Dropdown(names, value=names[0]),
            table: _rows(found),
            seen: (path, found.people.boxes, settings),
            **_links(downloads, found.files),
        }

    @_told_in(message, [message, heatmap])
    def show_heatmap(what, name):
        if what is None or name is None:
            return {}
        path, boxes, settings = what
        return {message: gr.skip(), heatmap: engine.heatmap(path, boxes, name, settings)}

    options = {"concurrency_limit": None, "api_visibility": "private"}
    gr.on([photo.change, button.click], predict, [photo, *chosen], outputs, show_progress_on=picture, **options)
    of_heatmap = {"inputs": [seen, keypoint], "outputs": [message, heatmap], "show_progress_on": heatmap, **options}
    heatmap_tab.select(show_heatmap, **of_heatmap)
    keypoint.input(show_heatmap, **of_heatmap)


def _video_tab(engine: Engine, chosen: list[gr.components.Component]) -> None:
    wanted = f"Choose or record a video of up to {engine.max_frames} frames. It stays on this machine."
    with gr.Row():
        with gr.Column():
            message = gr.HTML(_said(wanted), elem_id="video_message")
            video = gr.Video(show_label=False, sources=["upload", "webcam"], height=_HEIGHT)
            button = gr.Button("Predict", variant="primary", elem_id="predict_video")
        with gr.Column():
            with gr.Tab("People"):
                copy = gr.Video(show_label=False, height=_HEIGHT, interactive=False, buttons=[], elem_id="video_people")
            downloads = _download_buttons("Annotated video")
    table = gr.Dataframe(headers=_TRACK_COLUMNS, interactive=False, max_height=320, elem_id="tracks")
    outputs = [message, copy, table, *downloads]

    @_told_in(message, outputs)
    def predict(path, network, detector, box_threshold, score_threshold, progress=_PROGRESS):
        if path is None:
            return {message: _said(wanted)}
        start = time.perf_counter()
        progress(0, desc="reading")
        settings = Settings(network, detector, box_threshold, score_threshold)

        def tell(what, done, total, unit):
            progress(
                done / total if total else None, desc=f"{what}: {done:g}{f' of {total:g}' if total else ''} {unit}"
            )

        found = engine.video(path, settings, tell)
        return {
            message: _video_message(found, time.perf_counter() - start),
            copy: str(found.video),
            table: [[number, round(first, 2), round(last, 2), count] for number, first, last, count in found.tracks],
            **_links(downloads, found.files),
        }

    options = {"concurrency_limit": None, "api_visibility": "private"}
    button.click(predict, [video, *chosen], outputs, show_progress_on=copy, **options)


def _picture(elem_id: str, height: int) -> gr.Image:
    """A picture to look at; Gradio's button to share it on a site of others is left out."""
    buttons = ["fullscreen", "download"]
    return gr.Image(show_label=False, height=height, interactive=False, buttons=buttons, elem_id=elem_id)


def _download_buttons(first: str) -> list[gr.DownloadButton]:
    with gr.Row():
        return [gr.DownloadButton(what, interactive=False, min_width=80) for what in (first, "JSON", "CSV")]


def _told_in(message: gr.HTML, outputs: list[Any]) -> Callable[[Callable], Callable]:
    """Makes a function that gives {component: value} one whose errors are a line in `message`.

    Outputs that it leaves out become empty.
    """

    def wrap(function):
        @functools.wraps(function)
        def told(*values, **options):
            try:
                found = function(*values, **options)
            except (InputError, Stopped) as error:
                found = {message: _said(_UPLOAD_FOLDER.sub("", str(error)), "wrong")}
            empty = {
                one: gr.DownloadButton(value=None, interactive=False) if isinstance(one, gr.DownloadButton) else None
                for one in outputs
            }
            return empty | found

        return told

    return wrap


def _take_as_uploaded(photo: gr.Image) -> None:
    """Has the file of a photograph taken as it came: Gradio would open it with another library, and fail by itself."""
    photo.preprocess = lambda payload: payload and payload.path


def _links(buttons: list[gr.DownloadButton], files: list[Path]) -> dict[gr.DownloadButton, Any]:
    pairs = zip(buttons, files, strict=True)
    return {button: gr.DownloadButton(value=str(path), interactive=True) for button, path in pairs}


def _rows(found: PhotoResult) -> list[list[Any]]:
    """Of every keypoint the person's number, its name, x, y and score."""
    names = found.people.skeleton.names
    return [
        [number, name, round(float(x), 1), round(float(y), 1), round(float(score), 3)]
        for number, person in enumerate(found.people)
        for name, (x, y, score) in zip(names, person.keypoints, strict=True)
    ][:_MAX_ROWS]


def _photo_message(found: PhotoResult, settings: Settings, seconds: float) -> str:
    count = len(found.people)
    if not count:
        return _said(f"Nobody is found (box threshold {settings.box_threshold:g}).")
    cut = f" The table has the first {_MAX_ROWS} keypoints, the files all." if len(_rows(found)) == _MAX_ROWS else ""
    return _said(f"{count} {'person' if count == 1 else 'people'} in {seconds:.1f} s.{cut}")


def _video_message(found: VideoResult, seconds: float) -> str:
    rate = found.frames / seconds
    return _said(f"{found.frames} frames, {len(found.tracks)} people, {seconds:.1f} s ({rate:.1f} frames a second).")


def _said(text: str, kind: str = "") -> str:
    return f"<div class='message {kind}'>{html.escape(text)}</div>"
