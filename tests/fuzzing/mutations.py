"""Seeded damage to the bytes of a file: bits, numbers, and the parts that its container is made of."""

import json
import re
import struct
import zlib

NUMBERS = (0, 1, 2, 7, 255, 256, 32767, 32768, 65535, 65536, 2**24, 2**31 - 1, 2**31, 2**32 - 1, 2**63, 2**64 - 1)
ODD_VALUES = (
    *(None, True, False, 0, 1, -1, 3, 3.0, 0.5, 1e308, 10**9, 10**30, "", "3", "learned", "\0", "é" * 300),
    *([], [3], [[]], [5, 3, 3], [8.0, 4.0], [10**9] * 3, {}, {"a": 1}, ["a", None], float("nan"), float("inf")),
)
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
NESTED_BOXES = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"udta", b"edts", b"dinf", b"moof", b"traf", b"mvex")
EBML_STARTS = re.compile(
    rb"\x1a\x45\xdf\xa3|\x18\x53\x80\x67|\x15\x49\xa9\x66|\x16\x54\xae\x6b|\x1f\x43\xb6\x75|\xae|\xa3"
)
HDF5_STARTS = re.compile(rb"\x89HDF|TREE|SNOD|HEAP|GCOL|OHDR|OCHK|BTHD|FRHP")


def mutated(data, random, others):
    """`data` with one to four things wrong with it; `others` are files that pieces may come from."""
    for _ in range(random.choice((1, 1, 2, 4))):
        data = random.choice(MUTATIONS)(data, random, others)
    return data


def flipped_bits(data, random, others):
    data = bytearray(data)
    for _ in range(random.choice((1, 3, 20)) if data else 0):
        data[_place(data, random)] ^= 1 << random.randrange(8)
    return bytes(data)


def cut_short(data, random, others):
    return data[: random.randrange(len(data) + 1)]


def one_piece_moved(data, random, others):
    """A piece left out, doubled, blanked or put elsewhere."""
    start, end = sorted(random.randrange(len(data) + 1) for _ in range(2))
    end = min(end, start + random.choice((1, 4, 64, 1 << 20)))
    piece = data[start:end]
    new = random.choice((b"", piece * 2, bytes(len(piece)), random.randbytes(min(len(piece), 64))))
    if random.random() < 0.2:
        rest = data[:start] + data[end:]
        place = random.randrange(len(rest) + 1)
        return rest[:place] + piece + rest[place:]
    return data[:start] + new + data[end:]


def two_files_joined(data, random, others):
    other = random.choice(others)
    return data[: random.randrange(len(data) + 1)] + other[random.randrange(len(other) + 1) :]


def another_number(data, random, others):
    """A number of 1 to 8 bytes, in either order, replaced; where a length may stand rather than anywhere."""
    data = bytearray(data)
    for _ in range(random.choice((1, 1, 2))):
        code = random.choice("BHHIIIQ")
        size, order = struct.calcsize(code), random.choice("<>")
        if len(data) <= size:
            break
        place = min(_place(data, random), len(data) - size)
        for _ in range(20):  # a small number among zeros is a length or a size more often than not
            if 0 < struct.unpack_from(order + code, data, place)[0] <= len(data):
                break
            place = min(_place(data, random), len(data) - size)
        (value,) = struct.unpack_from(order + code, data, place)
        value = random.choice((*NUMBERS, value + 1, value - 1, value * 2, value // 2, len(data)))
        struct.pack_into(order + code, data, place, value % 256**size)
    return bytes(data)


def parts_changed(data, random, others):
    """The parts of the container in another order, one missing, doubled, damaged, or from another file."""
    pieces = parts(data)
    number = random.randrange(len(pieces))
    way = random.randrange(6)
    if way == 0:
        pieces.pop(number)
    elif way == 1:
        pieces.insert(random.randrange(len(pieces) + 1), pieces[number])
    elif way == 2:
        other = random.randrange(len(pieces))
        pieces[number], pieces[other] = pieces[other], pieces[number]
    elif way == 3:
        pieces[number] = random.choice(parts(random.choice(others)))
    elif way == 4:
        pieces[number] = another_number(pieces[number], random, others)
    else:
        pieces[number] = flipped_bits(pieces[number], random, others)
    if data.startswith(PNG_SIGNATURE) and random.random() < 0.9:
        pieces = [_with_checksum(piece) for piece in pieces]
    return b"".join(pieces)


def header_changed(data, random, others):
    """Another value somewhere in the JSON of a safetensors header, its length being right; else another number."""
    try:
        (length,) = struct.unpack_from("<Q", data)
        header = json.loads(data[8 : 8 + length])
        new = json.dumps(changed_json(header, random)).encode()
    except (ValueError, struct.error, RecursionError):
        return another_number(data, random, others)
    return struct.pack("<Q", len(new)) + new + data[8 + length :]


def changed_json(value, random):
    """`value` with one part replaced, renamed or left out; text that is itself JSON is changed within."""
    if isinstance(value, str) and value[:1] in "{[" and random.random() < 0.9:
        try:
            return json.dumps(changed_json(json.loads(value), random))
        except ValueError:
            return value
    if isinstance(value, (dict, list)) and value and random.random() < 0.9:
        keys = list(value) if isinstance(value, dict) else range(len(value))
        key = random.choice(keys) if random.random() < 0.5 or "__metadata__" not in value else "__metadata__"
        value = dict(value) if isinstance(value, dict) else list(value)
        way = random.random()
        if way < 0.1:
            del value[key]
        elif way < 0.2 and isinstance(value, dict):
            value[random.choice(("x", "scale", "motion", "conv1.weight", "__metadata__"))] = value.pop(key)
        else:
            value[key] = changed_json(value[key], random)
        return value
    if isinstance(value, str) and random.random() < 0.05:
        return random.choice(("[" * 5000, "{" * 100_000, "9" * 5000))
    new = random.choice(ODD_VALUES)
    return json.dumps(new) if isinstance(value, str) and random.random() < 0.5 else new


MUTATIONS = (
    *(flipped_bits, cut_short, one_piece_moved, two_files_joined, another_number, another_number),
    *(parts_changed, parts_changed, parts_changed, header_changed),
)


# ---- What a file is made of


def parts(data):
    """The parts of a file by its kind of container, one behind the other; their sum is `data`."""
    if data.startswith(PNG_SIGNATURE):
        places = _chunks(data, len(PNG_SIGNATURE), ">I", 0, 12)
    elif data.startswith(b"\xff\xd8"):
        places = [match.start() for match in re.finditer(rb"\xff[\xc0-\xfe]", data)]
    elif data.startswith(b"RIFF"):
        places = _chunks(data, 12, "<I", 4, 8)
    elif data[4:8] == b"ftyp":
        places = _boxes(data, 0, len(data))
    elif data.startswith(b"\x1a\x45\xdf\xa3"):
        places = [match.start() for match in EBML_STARTS.finditer(data)]
    elif data.startswith(b"\x89HDF"):
        places = [match.start() for match in HDF5_STARTS.finditer(data)]
    else:
        places = range(0, len(data), 188 if data.startswith(b"G") else 64)  # packets of a transport stream
    places = sorted({0, *(place for place in places if place < len(data)), len(data)})
    return [data[a:b] for a, b in zip(places, places[1:], strict=False)] or [b""]


def _chunks(data, position, code, at, overhead):
    """Where each chunk begins: a length at offset `at`, and `overhead` bytes beside the content."""
    places = []
    while position + 8 <= len(data):
        places.append(position)
        position += struct.unpack_from(code, data, position + at)[0] + overhead
        position += position % 2 if at else 0  # RIFF fills up to even sizes
    return places


def _boxes(data, position, end):
    places = []
    while position + 8 <= end:
        length, name = struct.unpack_from(">I4s", data, position)
        places.append(position)
        if name in NESTED_BOXES:
            places += _boxes(data, position + 8, min(end, position + length))
        position += max(8, length)
    return places


def _with_checksum(chunk):
    if len(chunk) < 12:
        return chunk
    return chunk[:-4] + struct.pack(">I", zlib.crc32(chunk[4:-4]))


def _place(data, random):
    """A position, more often than not among the first bytes, where headers are."""
    return random.randrange(len(data) if random.random() < 0.5 else min(len(data), 400))
