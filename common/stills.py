"""Enlarging files of still pictures: one picture, a folder of them, or an embedded photograph."""

import os
from dataclasses import replace
from pathlib import Path

from common.errors import CommandError
from common.images import WRITABLE_SUFFIXES, PictureError, find_pictures, read_picture, write_picture
from common.jobs import Job
from common.metrics import compare, papers_protocol
from common.patches import crop_to_multiple
from common.progress import ProgressBar
from common.resize import resize
from common.upscaler import to_unit
from common.video_pictures import pattern_of


class StillsJob(Job):
    """Enlarges a picture, a folder of pictures, or an embedded photograph.

    resume: whether pictures of a folder whose results are there already are left as they are.
    """

    def __init__(self, upscaler, overwrite=False, quiet=False, comparison=None, resume=False):
        super().__init__(upscaler, overwrite, quiet, comparison)
        self.resume = resume

    def run(self, source, target=None):
        """Enlarge `source`, a picture, a folder or None for an embedded photograph; returns the path of the result.

        target: where the result goes; None puts it beside the source under a name that says what was done.
        Raises PictureError for a picture that cannot be read or written, CommandError for one in the way.
        """
        self.source = source or "embedded photograph"
        if source is None:
            self.target = self._photograph(target)
        elif source.is_dir():
            self.target = self._folder(source, Path(target) if target else self._beside(source))
        else:
            self.target = self._file(source, Path(target) if target else self._beside(source))
        self.target = self.target.resolve()
        return self.target

    def _file(self, source, target):
        check_target(source, target, self.overwrite)
        self.frames_in += 1
        with self.stage("decode"):
            picture = read_picture(source)
        with self.stage("network"):
            larger = self.upscaler.picture(picture)
        self._write(target, larger, [f"{source}: {warning}" for warning in picture.warnings])
        if self.comparison:
            self.comparison.picture(source.name, picture, larger, self.upscaler)
        return target

    def _folder(self, source, target):
        pictures = find_pictures(source)
        if not pictures:
            raise CommandError(f"{source} holds no pictures.")
        if target.exists() and target.samefile(source):
            raise CommandError(f"{target} is the folder of the pictures themselves; the result needs another one.")
        targets = result_names(pictures, target)
        if self.upscaler.spec.frames > 1 and (pattern := pattern_of(pictures)):
            why = f"{self.upscaler.name} sees the frames before and after only in a film, as {pattern} would be"
            self.warnings.append(f"Each picture was enlarged alone: {why}.")
        todo = [(picture, result) for picture, result in zip(pictures, targets, strict=True) if self._is_todo(result)]
        if len(todo) < len(pictures):
            self.warnings.append(f"{len(pictures) - len(todo)} of {len(pictures)} pictures were finished before.")
        for picture, result in todo:
            check_target(picture, result, self.overwrite)
        target.mkdir(parents=True, exist_ok=True)
        self._files(todo)
        return target

    def _files(self, todo):
        """Enlarge all (picture, result) paths; what is no picture does not keep the others from it."""
        with ProgressBar(f"Enlarging {len(todo)} pictures", self.quiet) as bar:
            for number, (picture, result) in enumerate(todo):
                try:
                    self._file(picture, result)
                except PictureError as error:
                    self.failed += 1
                    self.warnings.append(str(error))
                bar((number + 1) / len(todo), number + 1, {})

    def _is_todo(self, result):
        """Pictures appear whole or not at all, so one that is there is finished."""
        return self.overwrite or not self.resume or not result.exists()

    def _photograph(self, target):
        """Shrink an embedded photograph, enlarge it again and say how near that comes to the original."""
        from common.samples import DEMONSTRATION, photograph

        scale, name = self.upscaler.scale, DEMONSTRATION
        target = Path(target) if target else self._beside(Path(f"{name}.png"))
        check_target(Path(name), target, self.overwrite)
        self.frames_in += 1
        with self.stage("decode"):
            truth = photograph(name)
            truth = replace(truth, pixels=crop_to_multiple(truth.pixels, scale), alpha=None)
            low = replace(truth, pixels=resize(truth.pixels, 1 / scale))
        with self.stage("network"):
            larger = self.upscaler.picture(low)
        self._write(target, larger, [])
        protocol, figures = papers_protocol(scale), {}
        for label, pixels in (("bicubic", resize(low.pixels, scale)), (self.upscaler.name, larger.pixels)):
            measured = compare(to_unit(truth.pixels), to_unit(pixels), protocol)
            figures[label] = measured["psnr"]
            if not self.quiet:
                print(f"{name} x{scale} {label:8} {measured['psnr']:6.2f} dB, SSIM {measured['ssim']:.4f}")
        if self.comparison:
            self.comparison.picture(name, low, larger, self.upscaler, truth, figures)
        return target

    def _write(self, target, picture, warnings):
        with self.stage("encode"):
            warnings = [*warnings, *write_picture(target, picture, overwrite=self.overwrite)]
        self.warnings += warnings
        self.frames_out += 1

    def _beside(self, source):
        source = source.resolve() if source.is_dir() else source  # "." has no name of its own
        if not source.name:
            raise CommandError(f"There is no place beside {source}; give an --output.")
        suffix = source.suffix.lower() if source.suffix.lower() in WRITABLE_SUFFIXES else ".png"
        tag = f"_{self.upscaler.name}_x{self.upscaler.scale}"
        return source.with_name(source.name + tag) if source.is_dir() else source.with_name(source.stem + tag + suffix)


def result_names(pictures, folder):
    """Path in `folder` for the result of each of `pictures`: its own name, with another suffix if that is not written.

    Raises CommandError if two pictures would get the same.
    """
    names = [path.name if path.suffix.lower() in WRITABLE_SUFFIXES else f"{path.stem}.png" for path in pictures]
    for name in names:
        if names.count(name) > 1:
            raise CommandError(f"Two pictures of the folder would both be saved as {name}; rename one of them.")
    return [Path(folder) / name for name in names]


def check_target(source, target, overwrite):
    """Raise CommandError if `target` is `source`, or exists and must not be replaced, or no picture format."""
    if target.suffix.lower() not in WRITABLE_SUFFIXES:
        raise CommandError(f"{target} does not end in the name of a picture format: {', '.join(WRITABLE_SUFFIXES)}.")
    if target.exists() and source.exists() and target.samefile(source):
        raise CommandError(f"{target} is the input itself, which is never written to.")
    if os.path.lexists(target) and not overwrite:
        raise CommandError(f"{target} exists already; --overwrite replaces it.")
