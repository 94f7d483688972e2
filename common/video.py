"""Video in, video out: any container that PyAV opens, frame by frame as planes with exact timestamps.

Reading and writing, in one picture:

    with open_video("in.mkv") as reader, open_writer("out.mkv", reader, scale=3) as writer:
        for frame in reader:
            writer.write(enlarged(frame))

Sound, subtitles, chapters, attachments, tags, colour, rotation and every timestamp pass from one file to the other.
Folders of pictures and patterns such as "frames/%05d.png" are videos, too, and "-" is standard input or output.

`python -m common.video cut|split|join|info` cuts a piece out of a video, splits it into pictures, joins pictures into
a video, and says what a video is. PyAV is imported when a video is opened.
"""

import sys
from pathlib import Path

from common.images import PICTURE_SUFFIXES
from common.video_frames import Frame, PixelLayout, VideoError, frame_of_rgb, rgb_of_frame
from common.video_info import StreamInfo, VideoInfo
from common.video_pictures import PictureReader, PictureWriter
from common.video_reader import VIDEO_SUFFIXES, VideoReader, is_pattern, is_video
from common.video_recipes import cut, join, split
from common.video_writer import VideoWriter, info_of_frames

__all__ = [
    "VIDEO_SUFFIXES",
    "Frame",
    "PixelLayout",
    "StreamInfo",
    "VideoError",
    "VideoInfo",
    "VideoReader",
    "VideoWriter",
    "becomes_pictures",
    "cut",
    "frame_of_rgb",
    "info_of_frames",
    "is_pictures",
    "is_video",
    "join",
    "open_video",
    "open_writer",
    "rgb_of_frame",
    "split",
]


def open_video(source, rate=25, **options):
    """A reader for a video, "-", a binary file object, a folder of pictures, a pattern of them, or one picture.

    rate: frames a second of pictures. options: those of `VideoReader`. Raises VideoError.
    """
    if is_pictures(source):
        return PictureReader(source, rate)
    return VideoReader(source, **options)


def open_writer(target, template=None, **options):
    """A writer for a video file, "-", a binary file object, or (a folder or a pattern) numbered pictures.

    A path without suffix is a folder. options: those of `VideoWriter`; pictures know no codec, crf and preset. Raises
    VideoError.
    """
    if becomes_pictures(target):
        known = ("info", "scale", "overwrite", "first_number")
        return PictureWriter(target, template, **{key: options[key] for key in known if key in options})
    return VideoWriter(target, template, **options)


def is_pictures(path):
    """Whether `path` is a folder of pictures, a pattern of them, or one picture, which have no times of their own."""
    if not _is_path(path):
        return False
    suffix = Path(path).suffix.lower()
    return is_pattern(path) or Path(path).is_dir() or (suffix in PICTURE_SUFFIXES and suffix != ".gif")


def becomes_pictures(target):
    """Whether what is written to `target` becomes numbered pictures, which know no codec."""
    return is_pictures(target) or (_is_path(target) and not Path(target).suffix)


def _is_path(source):
    return source != "-" and not hasattr(source, "read") and not hasattr(source, "write")


if __name__ == "__main__":
    from common.video_commands import main  # here alone: the library needs no command line

    sys.exit(main())
