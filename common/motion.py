"""Motion compensation by a classical optical flow, in place of the one that VESPCN learns.

The flow is estimated on whole frames, before they are cut into tiles or sub-images, so the result knows no seams.
"""

import numpy as np

SMALLEST = 16  # pixels of the shorter side below which no flow is estimated


def compensated(window, method, unit=1.0):
    """The frames of a window (H, W, frames) moved onto the middle one, as float32 in the same units.

    window: samples of any type, `unit` of which are white. Frames too small for an estimate of motion stay as they are.
    method: "dis" (Kroeger et al. 2016) or "farneback" (Farneback 2003), both OpenCV's.
    """
    import cv2

    rows, columns, count = window.shape
    moved, middle = window.astype(np.float32), count // 2
    if min(rows, columns) < SMALLEST:
        return moved
    seen = np.clip(np.rint(moved * (255 / unit)), 0, 255).astype(np.uint8)
    across, down = np.meshgrid(np.arange(columns, dtype=np.float32), np.arange(rows, dtype=np.float32))
    for t in range(count):
        if t != middle:
            flow = optical_flow(seen[..., middle], seen[..., t], method)
            place = across + flow[..., 0], down + flow[..., 1]
            frame = np.ascontiguousarray(moved[..., t])
            moved[..., t] = cv2.remap(frame, *place, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return moved


def optical_flow(target, neighbour, method):
    """Where each pixel of `target` lies in `neighbour`, both (H, W) uint8: (H, W, 2), (dx, dy) in pixels."""
    import cv2

    target, neighbour = np.ascontiguousarray(target), np.ascontiguousarray(neighbour)
    if method == "dis":
        return cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM).calc(target, neighbour, None)
    return cv2.calcOpticalFlowFarneback(
        target, neighbour, None, pyr_scale=0.5, levels=4, winsize=15, iterations=3, poly_n=5, poly_sigma=1.1, flags=0
    )
