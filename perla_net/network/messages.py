"""Sections of messages: a 64-byte header, then numbers, padded to 64 bytes. Data, never code.

Header, little-endian: magic ``PERL``; version; number of dimensions; code of the number type; sender; round;
architecture (8 bytes, zero where there is none); name of the section (12 bytes); four dimensions; bytes of numbers;
CRC-32 (ISO-HDLC) of everything before it and of the numbers.
"""

from __future__ import annotations

import math
import struct
import zlib
from dataclasses import dataclass

import numpy as np

from ..processes import UNIT

HEADER = struct.Struct("<4sHBBII8s12s4IQI")
MAGIC, VERSION = b"PERL", 1
TYPES = {"float32": 0, "int32": 1, "uint8": 2}
assert HEADER.size == UNIT


@dataclass(frozen=True)
class Form:
    """What a receiver expects of a section: number type, shape, architecture of the sender's policy if that matters."""

    kind: str
    shape: tuple[int, ...]
    architecture: bytes = bytes(8)

    @property
    def payload(self) -> int:
        """Bytes of the numbers."""
        return math.prod(self.shape) * np.dtype(self.kind).itemsize

    @property
    def size(self) -> int:
        """Bytes of the section on the wire: header, numbers, padding."""
        return UNIT + -(-self.payload // UNIT) * UNIT


class Rejected(Exception):
    """A section that must not be used; the text says why. It counts as lost."""


def pack(name: str, values: np.ndarray, form: Form, sender: int, round_number: int) -> np.ndarray:
    """A section as flat uint8. Raises ValueError when the values are not of the form that was announced."""
    if values.shape != form.shape or values.dtype != np.dtype(form.kind):
        raise ValueError(f"section {name}: {values.dtype}{values.shape} is not {form.kind}{form.shape}")
    section = np.zeros(form.size, np.uint8)
    numbers = section[UNIT : UNIT + form.payload]
    numbers[:] = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    head = HEADER.pack(*_fields(name, form, sender, round_number), 0)[:-4]
    section[:UNIT] = np.frombuffer(head + struct.pack("<I", zlib.crc32(numbers, zlib.crc32(head))), np.uint8)
    return section


def unpack(section: np.ndarray, name: str, form: Form, sender: int, round_number: int) -> np.ndarray:
    """The numbers of a section, a read-only view. Raises Rejected for anything that is not what was expected."""
    head = section[:UNIT].tobytes()
    fields = HEADER.unpack(head)
    checksum = fields[-1]
    numbers = section[UNIT : UNIT + form.payload]
    labels = (
        "magic",
        "version",
        "dimensions",
        "type",
        "sender",
        "round",
        "architecture",
        "section",
        *["shape"] * 4,
        "size",
    )
    for label, got, wanted in zip(labels, fields, _fields(name, form, sender, round_number)):
        if got != wanted:
            raise Rejected(label)
    if zlib.crc32(numbers, zlib.crc32(head[:-4])) != checksum:
        raise Rejected("checksum")
    values = numbers.view(form.kind).reshape(form.shape)
    if form.kind == "float32" and not np.isfinite(values).all():
        raise Rejected("non-finite number")
    values.flags.writeable = False
    return values


def _fields(name: str, form: Form, sender: int, round_number: int) -> tuple[bytes | int, ...]:
    """The header of a section, all but the checksum."""
    dimensions = form.shape + (0,) * (4 - len(form.shape))
    kind = TYPES[form.kind]
    tag = name.encode().ljust(12, b"\0")
    return (
        MAGIC,
        VERSION,
        len(form.shape),
        kind,
        sender,
        round_number,
        form.architecture,
        tag,
        *dimensions,
        form.payload,
    )
