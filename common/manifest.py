"""Which pictures and clips the known test sets are made of, as hashes of what is in them, whatever the file format.

    python -m common.material FOLDER...    prints the rows of `KNOWN` for other folders

"The pictures that the papers used" means: bicubic interpolation of exactly these gives the papers' bicubic figures.
"""

import hashlib

import numpy as np

# {set: {name in the copy these were computed from: hash of its samples}}
KNOWN = {
    "Set5": {
        "img_001.png": "14c7b7ea3a0f9e6207563a1de5f459eabb290f4c5dc22e0788950bf9c1bd20b7",
        "img_002.png": "8da7b407a67c3c9d1c1306e577ba56e561d40c05b9bf354d9a138285f709cc74",
        "img_003.png": "d1a440ed48aef4d95b22ea1ff202578d35b56a5b6a083aca6ba42970550c8645",
        "img_004.png": "0faa4bc5d9b6df9e7d35fbbef7c7ff4e32b8d4079e8452885999e1ffaa3280b9",
        "img_005.png": "ba9fd04043379232a221c057b57a33fcdc261dbf4cb47d80440a5e5481b937ff",
    },
    "Set14": {
        "img_001.png": "79fcedc83c8aa493a5682696bc7bacbf35349aec812bbea169717f663407131b",
        "img_002.png": "68d481e562f2ddb7a14a170dbab01ef5d57550d798d3dbc5cd26ab5ae4c00959",
        "img_003.png": "19155abe379c77faafef981f8b9a0bd751328120ed31871d1a18d450f620027c",
        "img_004.png": "b6644da5cfafcb164bb49fea693fd2416cdb490f6c120beaafecb92bd03891d1",
        "img_005.png": "956c13f66400d785b688c69fbe0564adcb977f97c9cd7ac0bc2f03b774070378",
        "img_006.png": "64c2a270ecafd1e43e29a3d35e9abd66e32905cbfa376576aea7a2696fa7bcb2",
        "img_007.png": "c98d4f15782e4d8a00bf65b8d6e64041021641e6bdecc6a6878af21b6bba74d3",
        "img_008.png": "d11a3cea2ff405f26e9007e01f8d2c3c8c7bf11a958a60893df9edf6eafb32c0",
        "img_009.png": "2efa8ebb093a2d9bfb31edeff11eea8a6600a122300e433c19acc9dbf13086c1",
        "img_010.png": "7536761adf418e2995cccc9c7d7ade330bcd279019006abfbb2fbe59cdbb4849",
        "img_011.png": "0130c90fc882bad4235131e95f211a52e54b59f68fdcf4b55d94fad606a67888",
        "img_012.png": "94e29d5ad970661c8deb384780be3607dd9ed08731153d31fbb28c240e5ee0b8",
        "img_013.png": "2ad06e21f051da8669319025ec3383925e45f96cdb3749444c789fccd134fdd9",
        "img_014.png": "26e19ec10b5ca319fa4a4f4562800c0b9313072f8afd0f063e0b9ac7648b8132",
    },
    "Vid4": {
        "calendar.mp4": "090dba43f79235b47234777603aba6ba7d7d5e5943b31a0927a593dfbda7fe1d",
        "city.mp4": "83055502cf4d73c7becb04fd7304ee3e5b194e1f71081e2cdc1bf3fd384d0b1a",
        "foliage.mp4": "7992d9aa686cb43ad4f803b34716ad31a344a52876755ab269183da30994b9d0",
        "walk.mp4": "fb1d36fffcb86486972cca08133c5eb010788155a577ea52c91df0c20cc8a28c",
    },
}


def picture_hash(pixels):
    """SHA-256 of the (H, W, 1 or 3) integer pixels of a picture and of its shape: the same for PNG and BMP."""
    return samples_hash([pixels])


def clip_hash(frames):
    """SHA-256 of the luma of all `Frame`s of a clip, in any container that keeps it."""
    return samples_hash(frame.luma for frame in frames)


def samples_hash(arrays):
    """SHA-256 of the shape and the samples of integer arrays, the same on every machine."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.itemsize} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes())
    return digest.hexdigest()


def identify(name, hashes):
    """(name of the known set that this is, or None, a sentence about it).

    name: of the folder. hashes: {name of a picture or clip: its hash}.
    """
    for known, content in KNOWN.items():
        if sorted(content.values()) == sorted(hashes.values()):
            return known, f"{name} is the {known} that the papers used."
    candidate = _most_like(name, hashes)
    if candidate is None:
        return None, f"{name} is no test set of the papers."
    content = KNOWN[candidate]
    others = [f"{one} differs" for one, digest in hashes.items() if digest not in content.values()]
    missing = [f"{one} is missing" for one, digest in content.items() if digest not in hashes.values()]
    what = ", ".join(others or missing) or "some are there twice"
    return None, f"{name} is not the {candidate} that the papers used: {what}."


def order(name):
    """A key by which the known sets come first, in the order of `KNOWN`."""
    known = list(KNOWN)
    return (known.index(name) if name in known else len(known), name)


def _most_like(name, hashes):
    """The known set that a folder seems meant to be, by its name or by what is in it, or None."""
    by_name = [known for known in KNOWN if known.casefold() == name.casefold()]
    by_content = [known for known, content in KNOWN.items() if set(content.values()) & set(hashes.values())]
    return next(iter(by_name + by_content), None)
