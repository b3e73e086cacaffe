"""Writes a PNG of one colour, with nothing but the standard library."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Mapping


def png(width: int, height: int, colour: int, texts: Mapping[str, str] | None = None) -> bytes:
    """Return a picture in 8-bit RGB; `colour` is 0xRRGGBB, `texts` become its tEXt chunks."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    row = b"\0" + colour.to_bytes(3, "big") * width
    packer = zlib.compressobj(1)
    pixels = b"".join([*(packer.compress(row) for _ in range(height)), packer.flush()])
    notes = [_chunk(b"tEXt", f"{key}\0{text}".encode("latin-1", "replace")) for key, text in (texts or {}).items()]
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", _chunk(b"IHDR", header), *notes, _chunk(b"IDAT", pixels), _chunk(b"IEND", b"")]
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
