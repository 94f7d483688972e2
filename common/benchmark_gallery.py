"""A page on which the results of the benchmark on pictures lie over each other and over the originals."""

from itertools import chain

from common.gallery import Entry, Side, write_page
from common.images import read_picture
from common.patches import crop_to_multiple


def write_gallery(path, report, jobs, sets, place):
    """Write the page `path` of what the `jobs` of common/benchmark.py made of the pictures of `sets`.

    place: function of (job, material, item), where the result of a job on a picture lies. Only pictures with results
    are shown, those of the largest scale first, because there most can be seen; of several frameworks one tells enough.
    Returns whether there are any.
    """
    found = entries(report, jobs, sets, place)
    first = next(found, None)
    if first is not None:
        write_page(path, "Test sets", chain([first], found), overwrite=True)
    return first is not None


def entries(report, jobs, sets, place):
    """Yield the `Entry` of each picture at each scale."""
    stills = [material for material in sets if material.kind == "pictures"]
    for scale in sorted({job.scale for job in jobs}, reverse=True):
        for material in stills:
            for item in material.items:
                sides = list(results(report, [job for job in jobs if job.scale == scale], material, item, place))
                if len(sides) > 1:
                    truth = crop_to_multiple(read_picture(item.path).pixels, scale)
                    sides = [sides[0], sides[-1], *sides[1:-1], Side("original", truth)]  # the first two are seen first
                    yield Entry(f"{material.name} {item.name}, x{scale}", sides)


def results(report, jobs, material, item, place):
    """Yield a `Side` for bicubic interpolation and for each network that has a result on the picture."""
    seen = set()
    for job in jobs:
        path = place(job, material, item)
        if job.model in seen or not path.exists():
            continue
        seen.add(job.model)
        figures = [one["psnr"] for one in report.entry(job, material)["items"] if one["name"] == item.name]
        yield Side(job.model, read_picture(path), figures[0] if figures else None)
