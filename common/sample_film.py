"""The embedded film: a camera over the embedded photographs, an object that moves, one cut, and a sound track."""

from fractions import Fraction

import numpy as np

from common.color import rgb_to_ycbcr
from common.resize import resize
from common.samples import photograph
from common.video_frames import PixelLayout, frame_of_rgb

ROWS, COLUMNS = 288, 384  # divisible by every scale there is
RATE = Fraction(24)
SCENES = (("coffee", 28), ("chelsea", 20))  # photograph and frames
SAMPLE_RATE = 44_100
NOTES = (262, 330, 392, 523)  # hertz


def truth():
    """Yield the frames, (ROWS, COLUMNS, 3) uint8."""
    for name, count in SCENES:
        for number in range(count):
            yield _frame(photograph(name).pixels, number / (count - 1))


def true_frames():
    """Yield the frames as `Frame`s of 4:2:0 video, their luma that of `write_small_film`."""
    for rgb in truth():
        yield frame_of_rgb(rgb, PixelLayout(), "bt601", False, peak=255)


def write_small_film(path, scale):
    """Write the film, shrunk by `scale` and without loss in its 4:2:0 samples, with sound; returns the true luma.

    Returns (frames, ROWS, COLUMNS) uint8, in the studio range.
    """
    import av

    lumas = []
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=RATE)
        video.width, video.height, video.pix_fmt = COLUMNS // scale, ROWS // scale, "yuv420p"
        video.options = {"qp": "0", "preset": "veryfast"}
        sound = output.add_stream("aac", rate=SAMPLE_RATE)
        for rgb in truth():
            ycbcr = rgb_to_ycbcr(rgb)
            lumas.append(ycbcr[..., 0])
            output.mux(video.encode(_small_frame(ycbcr, scale)))
        output.mux(video.encode(None))
        for frame in _tune(len(lumas) / RATE):
            output.mux(sound.encode(frame))
        output.mux(sound.encode(None))
    return np.stack(lumas)


def _frame(pixels, progress):
    """The camera drifts and comes nearer; a disc with another photograph in it crosses the picture."""
    import cv2

    rows, columns = pixels.shape[:2]
    zoom = max(ROWS / rows, COLUMNS / columns) * (1.02 + 0.12 * progress)
    spare = columns * zoom - COLUMNS, rows * zoom - ROWS
    left, top = spare[0] * progress, spare[1] * (0.5 + 0.4 * np.sin(3 * progress))
    matrix = np.float64([[zoom, 0, -left], [0, zoom, -top]])
    size = COLUMNS, ROWS
    scene = cv2.warpAffine(pixels, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT)
    x, y = 60 + 250 * progress, 200 - 120 * progress
    face = photograph("astronaut").pixels
    matrix = np.float64([[0.6, 0, x - 0.6 * 224], [0, 0.6, y - 0.6 * 110]])
    disc = cv2.warpAffine(face, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    across, down = np.meshgrid(np.arange(COLUMNS), np.arange(ROWS))
    inside = np.clip(44 - np.hypot(across - x, down - y), 0, 1)[..., None]
    return np.round(inside * disc + (1 - inside) * scene).astype(np.uint8)


def _small_frame(ycbcr, scale):
    import av

    small = resize(ycbcr, 1 / scale)
    height, width = small.shape[:2]
    # Half the size again for chroma, whose samples lie on every other column of luma.
    chroma = [resize(small[..., i].astype(np.float32), 0.5, shift=(0, -0.25)) for i in (1, 2)]
    planes = [small[..., 0], *(np.clip(np.round(plane), 0, 255) for plane in chroma)]
    flat = np.concatenate([plane.reshape(-1, width) for plane in planes]).astype(np.uint8)
    return av.VideoFrame.from_ndarray(flat.reshape(height * 3 // 2, width), "yuv420p")


def _tune(seconds):
    """Frames of a soft arpeggio, `seconds` long."""
    import av

    time = np.arange(int(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    note = (time * 4).astype(int) % len(NOTES)
    wave = 0.1 * np.sin(2 * np.pi * np.array(NOTES)[note] * time) * np.exp(-3 * ((time * 4) % 1))
    for begin in range(0, len(wave), 1024):
        part = np.repeat(wave[None, begin : begin + 1024], 2, axis=0).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(part), "fltp", "stereo")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, begin, Fraction(1, SAMPLE_RATE)
        yield frame
