"""Enlarging video: decode, network and encode overlap, frame by frame, with everything else of the file passed on."""

import sys
import tempfile
from contextlib import nullcontext
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np

from common.errors import CommandError, UsageError
from common.jobs import Job
from common.metrics import psnr
from common.progress import frame_bar
from common.resize import resize
from common.stages import Behind, ahead
from common.upscaler import Upscaler
from common.video import VIDEO_SUFFIXES, Frame, becomes_pictures, is_pictures, is_video, open_video, open_writer
from common.video_reader import is_pattern
from common.video_writer import holds_films
from common.weights import shipped_scales, weights_for
from common.windows import windows

AHEAD = 4  # decoded frames that wait for the network
BEHIND = 4  # enlarged frames that wait for the encoder


class FilmJob(Job):
    """Enlarges a video, or pictures that are one.

    codec, crf, preset: of the encoder, as for `common.video.VideoWriter`; None leaves the choice to it.
    rate: frames a second of pictures that are to become a video; None: 25. Options that nothing would come of are wrong
    usage.
    """

    def __init__(
        self, upscaler, overwrite=False, quiet=False, comparison=None, *, codec=None, crf=None, preset=None, rate=None
    ):
        super().__init__(upscaler, overwrite, quiet, comparison)
        self.encoder = {"codec": codec, "crf": crf, "preset": preset}
        self.rate = rate
        self.seen = None  # enlarged luma, kept for the demonstration only
        self.truths = repeat(None)  # frames, known for the demonstration only

    def run(self, source, target=None):
        """Enlarge the video `source` into `target`; returns the path of the result, or "-".

        Both are paths, "-" for a stream, or a folder or pattern of pictures; without a target the result goes beside
        the source under a name that says what was done. Without a source the embedded film is shrunk, enlarged and
        compared with the truth. Raises VideoError, one sentence; no half file is left then.
        """
        self._check_options(source, target)
        if source is None:
            self._demonstrate(target)
        else:
            name = "standard input" if source == "-" else Path(source).name
            self._film(source, target or self._beside(source), name)
        self.source = source or "embedded film"
        return self.target

    def _check_options(self, source, target):
        """Raise UsageError for options that would be ignored."""
        if self.rate and (source is None or not is_pictures(source)):
            raise UsageError(f"--rate is for numbered pictures; {source or 'the embedded film'} has times of its own.")
        given = [f"--{option}" for option, value in self.encoder.items() if value is not None]
        if given and target is not None and becomes_pictures(target):
            verb = "is" if len(given) == 1 else "are"
            raise UsageError(f"{' and '.join(given)} {verb} for video, and {target} holds pictures.")

    def _demonstrate(self, target):
        from common.sample_film import true_frames, write_small_film

        with tempfile.TemporaryDirectory() as folder:
            small = Path(folder) / "film.mp4"
            truth = write_small_film(small, self.upscaler.scale)
            self.seen, self.truths = [], true_frames()
            self._film(small, target or Path(self._beside(small).name), "embedded film")
            with open_video(small) as reader:
                lumas = [frame.luma for frame in reader]
        if not self.quiet:
            for name, larger in {**peers(lumas, self.upscaler), self.upscaler.name: self.seen}.items():
                figures = [psnr(a, b, peak=255) for a, b in zip(truth, larger, strict=True)]
                line = f"embedded film x{self.upscaler.scale} {name:8} {np.mean(figures):6.2f} dB"
                print(line, file=sys.stderr if self.target == "-" else sys.stdout)

    def _film(self, source, target, name):
        self.source, self.target = source, target
        scale = self.upscaler.scale
        with (
            open_video(source, rate=self.rate or 25) as reader,
            self._clip(name, reader.info) as clip,
            open_writer(self.target, reader, scale=scale, overwrite=self.overwrite, **self.encoder) as writer,
        ):
            self._all_frames(reader, writer, clip)
        if self.target != "-":
            self.target = Path(self.target).resolve()
        self.warnings += [*reader.warnings, *writer.warnings]

    def _clip(self, name, info):
        """The clip that shows the film on the page of the comparison, or None."""
        return self.comparison.film(name, info, self.upscaler) if self.comparison else nullcontext()

    def _all_frames(self, reader, writer, clip):
        def passed(window, larger):
            self.frames_in += 1
            if clip is not None:
                clip.add(window[len(window) // 2], larger, next(self.truths))
            if self.seen is not None:
                self.seen.append(larger.luma)
            bar.update()

        with self._bar(reader.info) as bar:
            whole = partial(windows, radius=self.upscaler.spec.frames // 2)
            enlarge(reader, whole, self.upscaler, reader.info, partial(self._encode, writer), self, passed)

    def _bar(self, info, done=0):
        size = f"{info.width}x{info.height} x{self.upscaler.scale}"
        return frame_bar(size, info.frame_count, self.quiet, done)

    def _encode(self, writer, frame):
        with self.stage("encode"):
            writer.write(frame)
        self.frames_out += 1

    def _beside(self, source):
        if source == "-":
            return "-"
        source = Path(source)
        if is_pattern(source) or source.is_dir():
            raise CommandError("Pictures that are to become a video, or pictures again, need an --output.")
        suffix = source.suffix if holds_films(source.suffix) else ".mkv"
        return source.with_name(f"{source.stem}_{self.upscaler.name}_x{self.upscaler.scale}{suffix}")


def enlarge(frames, in_windows, upscaler, info, encode, clocks, passed):
    """Decode, enlarge and encode `Frame`s, all three at once: each in a thread of its own, a few frames apart.

    in_windows: makes an iterable of windows of an iterable of frames. info: `VideoInfo` of the frames. encode: takes
    each enlarged frame, in the thread of the encoder. clocks: `common.jobs.Clocks`. passed: is called with each window
    and the enlarged frame that became of it.
    """
    colours = {"matrix": info.matrix, "full_range": info.full_range}
    colours["left_sited"] = info.chroma_siting != "center"
    frames = ahead(clocks.timed("decode", frames), AHEAD)
    try:
        with Behind(encode, BEHIND) as encoder:
            for window in in_windows(frames):
                with clocks.stage("network"):
                    larger = upscaler.frame(window, **colours)
                encoder.put(larger)
                passed(window, larger)
    finally:
        frames.close()


def peers(lumas, upscaler):
    """{name: enlarged luma of each frame} to compare `upscaler` with: bicubic, and ESPCN if it is shipped."""
    scale, framework = upscaler.scale, upscaler.framework
    others = {"bicubic": [resize(luma, scale) for luma in lumas]}
    if upscaler.name != "espcn" and scale in shipped_scales("espcn"):
        espcn = Upscaler(weights_for("espcn", scale), framework)
        others["espcn"] = [espcn.frame([Frame(luma)]).luma for luma in lumas]
    return others


def is_film(source, target):
    """Whether enlarging `source` into `target` is work on a video: one of them is one, or pictures numbered as one."""
    if target is not None and (target == "-" or Path(target).suffix.lower() in VIDEO_SUFFIXES):
        return True
    return source is not None and is_video(source)
