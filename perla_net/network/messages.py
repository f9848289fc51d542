"""What travels along an edge: packets of sections. Data, never code.

A packet is a 64-byte envelope (who sends what to whom, of which round) and sections; a section is a 64-byte header, then
numbers, padded to 64 bytes. All of it little-endian. Envelope: magic ``PNET``; version; kind of packet; number of sections;
origin, sender, target; rounds in which it was made and is due; edges that it has come along; environment copies that its
experience covers; flags; bytes of the sections; XXH3. Header: magic ``PERL``; version; number of dimensions; codes of
number type and coding; sender; round; architecture (8 bytes, zero where there is none); name of the section (12 bytes); four
dimensions; bytes of numbers; XXH3 (64 bits, seed: that of what comes before it) of what comes after it. A checksum of 64 bits
lets one damaged message in 2^64 pass, and XXH3 takes a tenth of the time of a CRC.
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass, field, replace

import numpy as np
from xxhash import xxh3_64_intdigest

from ..ground.processes import UNIT
from . import compression

HEADER = struct.Struct("<4sBBBBII8s12s4IIQ")
ENVELOPE = struct.Struct("<4sBBHiiiiiiiiQQ8x")
MAGIC, ENVELOPE_MAGIC, VERSION = b"PERL", b"PNET", 2
TYPES = {"float32": 0, "int32": 1, "uint8": 2, "float64": 3}
assert HEADER.size == ENVELOPE.size == UNIT
MODELS, EXPERIENCE, PARAMETERS, TEAM, TALK, MESSAGE, GRADIENT = range(7)
"""Kinds of packets: a policy; one round's experience; parameters to average; what the whole team is told; what is said while learning; what is said
at each step, and its gradients, which go without packets (see ``channel.py``)."""
WHOLE = 1
"""Flag: the sections are whole although their coding is one of differences, since the receiver holds nothing yet."""


@dataclass(frozen=True)
class Form:
    """What a receiver expects of a section: number type, shape, architecture of the sender's policy if that matters, and
    how float32 numbers are coded (see ``compression.py``; ``kept``: k of top_k)."""

    kind: str
    shape: tuple[int, ...]
    architecture: bytes = bytes(8)
    coding: str = "raw"
    groups: compression.Groups = ()
    kept: int = 0

    @property
    def payload(self) -> int:
        """Bytes of the numbers."""
        if self.coding != "raw":
            return compression.coded_size(self.coding, self.shape, self.groups, self.kept)
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
    section = np.empty(form.size, np.uint8)
    section[UNIT + form.payload :] = 0
    numbers = section[UNIT : UNIT + form.payload]
    if form.coding == "raw":
        numbers[:] = np.ascontiguousarray(values).reshape(-1).view(np.uint8)
    else:
        numbers[:] = compression.encode(form.coding, values, form.groups, form.kept)
    head = HEADER.pack(*_fields(name, form, sender, round_number), 0)[:-8]
    checksum = xxh3_64_intdigest(section[UNIT:], seed=xxh3_64_intdigest(head))
    section[:UNIT] = np.frombuffer(head + struct.pack("<Q", checksum), np.uint8)
    return section


def unpack(section: np.ndarray, name: str, form: Form, sender: int, round_number: int) -> np.ndarray:
    """The numbers of a section, a read-only view where they are raw. Raises Rejected for anything that is not as expected."""
    head = section[:UNIT].tobytes()
    fields = HEADER.unpack(head)
    checksum = fields[-1]
    labels = (
        "magic",
        "version",
        "dimensions",
        "type",
        "coding",
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
    if xxh3_64_intdigest(section[UNIT:], seed=xxh3_64_intdigest(head[:-8])) != checksum:
        raise Rejected("checksum")
    numbers = section[UNIT : UNIT + form.payload]
    if form.coding == "raw":
        values = numbers.view(form.kind).reshape(form.shape)
    else:
        try:
            values = compression.decode(form.coding, numbers, form.shape, form.groups, form.kept)
        except ValueError as error:
            raise Rejected(str(error)) from None
    if form.kind in ("float32", "float64") and not np.isfinite(values).all():
        raise Rejected("non-finite number")
    values.flags.writeable = False
    return values


def _fields(name: str, form: Form, sender: int, round_number: int) -> tuple[bytes | int, ...]:
    """The header of a section, all but the checksum."""
    dimensions = form.shape + (0,) * (4 - len(form.shape))
    tag = name.encode().ljust(12, b"\0")
    return (
        MAGIC,
        VERSION,
        len(form.shape),
        TYPES[form.kind],
        compression.TYPES[form.coding],
        sender,
        round_number,
        form.architecture,
        tag,
        *dimensions,
        form.payload,
    )


@dataclass
class Packet:
    """Sections of one kind on their way from ``sender`` to ``target``; ``origin`` made them in round ``made``.

    due: round in which they arrive; hops: edges along which they have come; copies: environment copies that the
    experience covers; sections: uint8 arrays, one after the other; purpose: what its bytes are in the ledger, where its sections do not
    say so (only the sender knows).
    """

    kind: int
    origin: int
    sender: int
    target: int
    made: int
    due: int
    hops: int
    copies: int
    sections: list[np.ndarray] = field(repr=False)
    flags: int = 0
    purpose: str = ""

    @property
    def size(self) -> int:
        """Bytes on the wire, envelope included."""
        return UNIT + sum(section.size for section in self.sections)

    def envelope(self) -> np.ndarray:
        """The envelope, uint8 [64]."""
        fields = (
            ENVELOPE_MAGIC,
            VERSION,
            self.kind,
            len(self.sections),
            self.origin,
            self.sender,
            self.target,
            self.made,
            self.due,
            self.hops,
            self.copies,
            self.flags,
            self.size - UNIT,
        )
        checksum = xxh3_64_intdigest(ENVELOPE.pack(*fields, 0)[:48])
        return np.frombuffer(ENVELOPE.pack(*fields, checksum), np.uint8)

    def pieces(self) -> list[np.ndarray]:
        """Envelope and sections, as they go on the wire."""
        return [self.envelope(), *self.sections]

    def kept(self) -> Packet:
        """The same packet with sections of its own, for later than the buffer in which it came."""
        return replace(self, sections=[section.copy() for section in self.sections])


def open_packets(data: np.ndarray) -> list[Packet]:
    """The packets that lie one after the other in uint8 data, each with all its sections in one piece.

    Raises ValueError when the bytes are not packets: then the transport itself is broken.
    """
    packets, start = [], 0
    while start < data.size:
        head = data[start : start + UNIT].tobytes()
        magic, version, kind, _, origin, sender, target, made, due, hops, copies, flags, size, checksum = (
            ENVELOPE.unpack(head)
        )
        if (magic, version) != (ENVELOPE_MAGIC, VERSION) or xxh3_64_intdigest(head[:48]) != checksum:
            raise ValueError("what came along an edge is not a packet")
        start += UNIT
        body = data[start : start + size]
        packets.append(Packet(kind, origin, sender, target, made, due, hops, copies, [body], flags))
        start += size
    return packets
