"""Files that people and attackers upload: name -> bytes, and whether they can be read as a picture."""

import io
import struct
import zlib

import numpy as np
from PIL import Image


def odd_files() -> dict[str, tuple[bytes, bool]]:
    """Small all of them; what is readable is 40x40."""
    pixels = np.random.RandomState(3).randint(0, 256, (40, 40, 3)).astype(np.uint8)
    picture = Image.fromarray(pixels)
    jpeg = saved(picture, "JPEG")
    deep = Image.fromarray(pixels[..., 0].astype(np.uint16) * 257)
    frames = {"save_all": True, "append_images": [picture.rotate(90)], "duration": 50}
    return {
        "a photo.jpg": (jpeg, True),
        "text.jpg": (b"no picture at all", False),
        "drawing.svg": (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", False),
        "half.jpg": (jpeg[: len(jpeg) // 2], False),
        "bomb.png": (bomb(), False),
        "moving.gif": (saved(picture, "GIF", **frames), True),
        "sixteen bits.png": (saved(deep, "PNG"), True),
        "print.jpg": (saved(picture.convert("CMYK"), "JPEG"), True),
        "no extension": (jpeg, True),
        "../../etc/passwd": (jpeg, True),
        "two\nlines, **bold** [x](javascript:alert(1)) <b>.png": (saved(picture, "PNG"), True),
        "empty.png": (b"", False),
    }


def saved(picture: Image.Image, format: str, **options) -> bytes:
    file = io.BytesIO()
    picture.save(file, format, **options)
    return file.getvalue()


def bomb(side: int = 30_000) -> bytes:
    """A PNG of side x side black pixels, in some kilobytes."""
    row = bytes(1 + (side + 7) // 8)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")
