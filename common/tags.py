"""Tag directories: the structure in which TIFF describes a picture and EXIF a photograph."""

import struct
from fractions import Fraction

EXIF_DIRECTORY, _GPS_DIRECTORY, _INTEROPERABILITY_DIRECTORY = 34665, 34853, 40965
_SUBDIRECTORIES = (EXIF_DIRECTORY, _GPS_DIRECTORY, _INTEROPERABILITY_DIRECTORY)
ORIENTATION = 274
DESCRIPTION = 270
PIXEL_DIMENSIONS = (40962, 40963)
# Document name, description, make, model, orientation, page name, software, date, artist, host computer, rating,
# copyright, title, comment, author, keywords, subject.
_DESCRIPTIVE = {269, 270, 271, 272, 274, 285, 305, 306, 315, 316, 18246, 18249, 33432, *range(40091, 40096)}
_DESCRIPTIVE |= {EXIF_DIRECTORY, _GPS_DIRECTORY}
_BYTE_ORDERS = {b"II": "<", b"MM": ">"}
# Bytes and struct code of the field types: BYTE, ASCII, SHORT, LONG, RATIONAL, signed ones, float, double, IFD, LONG8.
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
_CODES = {1: "B", 3: "H", 4: "I", 5: "II", 13: "I", 16: "Q", 18: "Q"}
SHORT, LONG, RATIONAL, UNDEFINED = 3, 4, 5, 7
DAMAGED_TAGS = (KeyError, OverflowError, struct.error)


class TagDirectory:
    """The first tag directory of a TIFF (classic or BigTIFF) or EXIF block, read in place and, if that can be, edited.

    Constructing and reading raise one of `DAMAGED_TAGS` where the data are damaged.
    """

    def __init__(self, data):
        self.data = data
        self.order = _BYTE_ORDERS[bytes(data[:2])]
        self.big = self._unpack("H", 2)[0] == 43
        start = self._unpack("Q", 8)[0] if self.big else self._unpack("I", 4)[0]
        self.fields, self.next_link = self.directory(start)

    def _unpack(self, code, position):
        return struct.unpack_from(self.order + code, self.data, position)

    def directory(self, start):
        """({tag: (type, count, position of the value)}, position of the link to the next directory)."""
        number, entry, inline = ("Q", "HHQ", 8) if self.big else ("H", "HHI", 4)
        (entries,) = self._unpack(number, start)
        position = start + struct.calcsize("<" + number)
        fields = {}
        for _ in range(entries):
            tag, kind, count = self._unpack(entry, position)
            where = position + struct.calcsize("<" + entry)
            size = count * _SIZES.get(kind, 0)
            position = where + inline
            if size > inline:
                (where,) = self._unpack("Q" if self.big else "I", where)
            if size and where + size <= len(self.data):
                fields[tag] = kind, count, where
        return fields, position

    def numbers(self, tag, default=()):
        """Every number of a field; rationals as Fraction, without those that are divided by nothing."""
        if tag not in self.fields:
            return default
        kind, count, where = self.fields[tag]
        values = self._unpack(_CODES[kind] * count, where)
        if kind == RATIONAL:
            return tuple(Fraction(*pair) for pair in zip(values[::2], values[1::2], strict=True) if pair[1])
        return values

    def number(self, tag, default=None):
        return next(iter(self.numbers(tag)), default)

    def content(self, tag):
        """The bytes of a field, None if there is no such field."""
        kind, count, where = self.fields.get(tag, (0, 0, 0))
        return None if kind == 0 else bytes(self.data[where : where + count * _SIZES[kind]])

    def has_next(self):
        link = self.data[self.next_link : self.next_link + (8 if self.big else 4)]
        return any(link)

    def put(self, tag, value, fields=None):
        """Overwrite the number in a field."""
        kind, _, where = (self.fields if fields is None else fields)[tag]
        struct.pack_into(self.order + _CODES[kind], self.data, where, value)

    def unlink_thumbnail(self):
        if self.has_next():
            struct.pack_into("<I", self.data, self.next_link, 0)

    def subdirectory(self, tag, fields=None):
        """The fields of the directory that a field points to, none if it is missing or damaged."""
        try:
            kind, _, where = (self.fields if fields is None else fields)[tag]
            return self.directory(self._unpack(_CODES[kind], where)[0])[0]
        except DAMAGED_TAGS:
            return {}

    def tree(self, fields, levels=2):
        """{tag: (type, count, bytes, or the same again of a subdirectory)} of the given fields."""
        result = {}
        for tag, (kind, count, where) in fields.items():
            if tag not in _SUBDIRECTORIES:
                result[tag] = kind, count, bytes(self.data[where : where + count * _SIZES[kind]])
            elif levels and (below := self.subdirectory(tag, fields)):
                result[tag] = kind, count, self.tree(below, levels - 1)
        return result

    def description(self):
        """The tree of what speaks of the scene and not of how its pixels are stored."""
        return self.tree({tag: field for tag, field in self.fields.items() if tag in _DESCRIPTIVE})


def pack_directory(tree, order, start):
    """The bytes of a classic tag directory that is to stand at the even position `start`, long values behind it."""
    behind = start + 2 + 12 * len(tree) + 4
    entries, heap = [struct.pack(order + "H", len(tree))], bytearray()
    for tag, (kind, count, content) in sorted(tree.items()):
        where = behind + len(heap)
        if isinstance(content, dict):
            heap += pack_directory(content, order, where)
            kind, count, content = LONG, 1, struct.pack(order + "I", where)
        elif len(content) > 4:
            heap += content + bytes(len(content) % 2)
            content = struct.pack(order + "I", where)
        entries.append(struct.pack(order + "HHI4s", tag, kind, count, content))
    return b"".join(entries) + bytes(4) + heap
