import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from datasets.fitting import FITS, fit
from datasets.images import BadImage, ImageSettings, decode, pieces

SETTINGS = ImageSettings()
RED, WHITE = (255, 0, 0), (255, 255, 255)
NOISE = np.random.default_rng(0).integers(0, 256, (48, 40, 3), np.uint8)


def encode(image, format, **options):
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def pixels(data, settings=SETTINGS):
    image, facts = decode(data, settings)
    assert image.dtype == np.uint8 and image.shape == (facts.height, facts.width, 3)
    return image


def png(width, height, depth, colour, packed_rows, **chunks):
    """A PNG written by hand: the kinds Pillow reads and does not write."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + row for row in packed_rows))
    extra = b"".join(chunk(name.encode(), body) for name, body in chunks.items())
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def quarters():
    image = np.zeros((32, 48, 3), np.uint8)
    image[:16, :24], image[:16, 24:], image[16:, :24] = RED, (0, 255, 0), (0, 0, 255)
    return image


# From the EXIF standard: which visible sides the stored first row and the stored first column are.
STORED = {
    1: lambda upright: upright,
    2: lambda upright: upright[:, ::-1],
    3: lambda upright: upright[::-1, ::-1],
    4: lambda upright: upright[::-1],
    5: lambda upright: upright.swapaxes(0, 1),
    6: lambda upright: upright.swapaxes(0, 1)[::-1],
    7: lambda upright: upright.swapaxes(0, 1)[::-1, ::-1],
    8: lambda upright: upright.swapaxes(0, 1)[:, ::-1],
}


@pytest.mark.parametrize(
    ("format", "options"),
    [
        ("JPEG", {"quality": 95, "subsampling": 0}),
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("AVIF", {}),
    ],
)
def test_all_eight_exif_orientations_come_out_upright_once(format, options):
    for orientation, turn in STORED.items():
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = Image.fromarray(np.ascontiguousarray(turn(quarters())))
        image, facts = decode(encode(stored, format, exif=exif, **options), SETTINGS)
        assert (facts.width, facts.height, facts.format) == (48, 32, format)
        assert np.abs(image.astype(int) - quarters()).mean() < 5, orientation


def test_a_damaged_exif_block_costs_no_picture():
    data = encode(Image.fromarray(quarters()), "PNG", exif=b"Exif\0\0MM\0\x2a\0\0\xff\xff broken")
    assert np.array_equal(pixels(data), quarters())


@pytest.mark.parametrize("kind", ["png", "tiff", "tiff, big end first", "tiff, 32 bits", "tiff, white is zero"])
def test_a_ramp_of_16_bits_keeps_its_levels(kind):
    ramp = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    if kind == "tiff, 32 bits":
        image = Image.fromarray(ramp.astype(np.int32))
    else:
        image = Image.fromarray(ramp.astype(">u2") if "big" in kind else ramp)
    data = encode(image, kind[:4].strip(","))
    if "white" in kind:
        assert data.count(struct.pack("<HHIH", 262, 3, 1, 1)) == 1
        data = data.replace(struct.pack("<HHIH", 262, 3, 1, 1), struct.pack("<HHIH", 262, 3, 1, 0))
        ramp = 65535 - ramp
    levels = pixels(data)[..., 0]
    assert np.abs(levels - ramp / 257).max() <= 0.501
    assert len(np.unique(levels)) == 256


def test_12_bits_reach_white():
    ramp = np.arange(4096).reshape(-1, 2)
    packed = np.stack([ramp[:, 0] >> 4, (ramp[:, 0] & 15) << 4 | ramp[:, 1] >> 8, ramp[:, 1] & 255], 1).astype(np.uint8)
    strip = np.concatenate([packed.ravel(), np.zeros(2048, np.uint8)]).view(np.uint16).reshape(64, 64)
    data = encode(Image.fromarray(strip), "TIFF").replace(
        struct.pack("<HHIH", 258, 3, 1, 16), struct.pack("<HHIH", 258, 3, 1, 12)
    )
    assert np.abs(pixels(data)[..., 1].ravel() - np.arange(4096) * 255 / 4095).max() <= 0.501


def test_colours_of_16_bits_keep_their_upper_8():
    row = np.array([[0, 0x7FFF, 0xFFFF]] * 8, ">u2")
    assert np.abs(pixels(png(8, 8, 16, 2, [row.tobytes()] * 8)) - np.array([0, 127, 255.0])).max() <= 1


def test_float_images_are_read_between_0_and_1_and_refused_beyond():
    ramp = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)
    levels = pixels(encode(Image.fromarray(ramp), "TIFF"))[..., 2]
    assert np.abs(levels - ramp * 255).max() <= 0.501
    for beyond in (-0.1, 1.5, np.nan, np.inf):
        ramp[3, 3] = beyond
        with pytest.raises(BadImage, match="0 to 1"):
            decode(encode(Image.fromarray(ramp), "TIFF"), SETTINGS)


def transparent_pictures():
    """Left half red, right half fully transparent green; grey ones 80 and transparent 200."""
    rgba = Image.new("RGBA", (16, 16), (*RED, 255))
    rgba.paste((0, 255, 0, 0), (8, 0, 16, 16))
    yield "RGBA", RED, encode(rgba, "PNG")
    yield "WebP", RED, encode(rgba, "WEBP", lossless=True)
    two = np.repeat([[0] * 8 + [1] * 8], 16, 0).astype(np.uint8)
    palette = Image.fromarray(two).copy()
    palette.putpalette([*RED, 0, 255, 0])
    yield "palette with one transparent entry", RED, encode(palette, "PNG", transparency=1)
    yield "palette with alpha", RED, encode(palette, "PNG", transparency=b"\xff\x00")
    yield "GIF", RED, encode(palette, "GIF", transparency=1)
    grey_alpha = Image.merge("LA", (Image.fromarray(80 + 120 * two), Image.fromarray(255 - 255 * two)))
    yield "LA", (80, 80, 80), encode(grey_alpha, "PNG")
    yield "grey, 8 bits", (80, 80, 80), encode(Image.fromarray(80 + 120 * two), "PNG", transparency=200)
    row = struct.pack(">H", 80 * 257) * 8 + struct.pack(">H", 80 * 257 + 7) * 8
    yield "grey, 16 bits", (80, 80, 80), png(16, 16, 16, 0, [row] * 16, tRNS=struct.pack(">H", 80 * 257 + 7))
    nibbles = [b"\x55" * 4 + b"\xcc" * 4] * 16
    yield "grey, 4 bits", (85, 85, 85), png(16, 16, 4, 0, nibbles, tRNS=struct.pack(">H", 12))
    key = struct.pack(">HHH", 0x1234, 0xFFFF, 0x00FF)
    row = struct.pack(">HHH", 0xFFFF, 0, 0) * 8 + key * 8
    yield "RGB, 16 bits", RED, png(16, 16, 16, 2, [row] * 16, tRNS=key)


@pytest.mark.parametrize(("opaque", "data"), [pytest.param(c, d, id=name) for name, c, d in transparent_pictures()])
def test_what_is_transparent_becomes_white(opaque, data):
    image = pixels(data)
    assert (image[:, :8] == opaque).all() and (image[:, 8:] == WHITE).all()


def test_half_transparent_red_lies_half_way_to_white():
    assert np.abs(pixels(encode(Image.new("RGBA", (8, 8), (*RED, 128)), "PNG")) - [255, 127, 127.0]).max() <= 1


@pytest.mark.parametrize(
    ("image", "format", "expected"),
    [
        (Image.new("1", (8, 8), 1), "PNG", WHITE),
        (Image.new("L", (8, 8), 77), "BMP", (77, 77, 77)),
        (Image.new("CMYK", (8, 8), (255, 0, 0, 0)), "JPEG", (0, 255, 255)),
        (Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "TIFF", (0, 0, 0)),
        (Image.new("YCbCr", (8, 8), (76, 85, 255)), "TIFF", RED),
        (Image.new("LAB", (8, 8), (255, 128, 128)), "TIFF", WHITE),
    ],
)
def test_other_colour_models_become_rgb(image, format, expected):
    assert np.abs(pixels(encode(image, format)).astype(int) - expected).max() <= 3


def test_of_several_frames_the_first_is_taken():
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, (0, 0, 255))]
    for format in ("GIF", "TIFF", "WEBP", "PNG"):
        options = {"lossless": True} if format == "WEBP" else {}
        data = encode(frames[0], format, save_all=True, append_images=frames[1:], **options)
        assert (pixels(data) == RED).all(), format
    image, facts = decode(encode(frames[0], "MPO", save_all=True, append_images=frames[1:]), SETTINGS)
    assert facts.format == "JPEG" and np.abs(image.astype(int) - RED).max() <= 3


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_a_file_cut_short_anywhere_is_refused_in_one_line(format):
    whole = encode(Image.fromarray(NOISE), format)
    assert pixels(whole).shape == (48, 40, 3)
    for length in (0, 1, 7, 20, len(whole) // 2, len(whole) * 9 // 10):
        with pytest.raises(BadImage) as error:
            decode(whole[:length], SETTINGS)
        text = str(error.value)
        assert text and "\n" not in text and " at 0x" not in text


def test_text_called_jpg_is_refused_with_the_accepted_kinds():
    with pytest.raises(BadImage, match="JPEG, PNG, WEBP, GIF, BMP, TIFF, AVIF"):
        decode(b"this is no picture\n" * 10, SETTINGS)
    for unwanted in ("PPM", "TGA", "ICO", "EPS"):
        with pytest.raises(BadImage, match="JPEG, PNG"):
            decode(encode(Image.fromarray(NOISE), unwanted), SETTINGS)


def test_caps_are_looked_at_before_any_pixel_and_without_a_warning():
    """The pictures hold no pixels at all: had they been decoded, the reason would be another."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for side, said in [(30_000, "more than 178956970"), (10_000, "10000x10000"), (7_100, "7100x7100")]:
            with pytest.raises(BadImage, match=rf"{said} pixels.*50000000"):
                decode(png(side, side, 8, 2, []), SETTINGS)
        with pytest.raises(BadImage, match=r"1x1 pixels.*from 8"):
            decode(png(1, 1, 8, 2, []), SETTINGS)
        with pytest.raises(BadImage, match=r"101 bytes.*at most 100"):
            decode(bytes(101), ImageSettings(max_bytes=100))


def test_a_ribbon_20000_wide_is_an_image_while_it_has_few_pixels():
    ribbon = encode(Image.new("RGB", (20_000, 9), RED), "PNG")
    for rule in FITS:
        fitted = fit(pixels(ribbon), (32, 32), rule)
        assert fitted.shape == (32, 32, 3) and (fitted[15, 16] == RED).all()
    with pytest.raises(BadImage, match="20000x9 pixels"):
        decode(ribbon, ImageSettings(max_pixels=179_999))


def test_memory_that_runs_out_is_a_bad_image(monkeypatch):
    def hungry(*_):
        raise MemoryError

    monkeypatch.setattr("datasets.images._rgb", hungry)
    with pytest.raises(BadImage, match="memory"):
        decode(encode(Image.fromarray(NOISE), "PNG"), SETTINGS)


@pytest.mark.parametrize(
    ("wrong", "text"),
    [
        ({"size": (0, 32)}, r"data.image_size is \(0, 32\); expected .* 1 to 4096"),
        ({"size": (32,)}, r"data.image_size is \(32,\)"),
        ({"size": (32, 4097)}, "data.image_size"),
        ({"size": (32.0, 32)}, "data.image_size"),
        ({"fit": "crop"}, "data.fit is 'crop'; expected one of stretch, center_crop, pad"),
        ({"min_side": 0}, "min_side is 0; expected .* 1 to 4096"),
        ({"max_pixels": 10**9}, "max_pixels is 1000000000; expected .* 178956970"),
        ({"max_bytes": "many"}, "max_bytes is 'many'"),
    ],
)
def test_a_wrong_setting_is_named_with_what_is_accepted(wrong, text):
    with pytest.raises(ValueError, match=text) as error:
        ImageSettings(**wrong)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("quality", [1, 10, 50, 75, 85, 95, 100])
@pytest.mark.parametrize(("number", "sampling"), [(0, "4:4:4"), (1, "4:2:2"), (2, "4:2:0")])
def test_the_quality_and_the_sampling_a_jpeg_was_saved_with_are_found_again(quality, number, sampling):
    data = encode(Image.fromarray(NOISE), "JPEG", quality=quality, subsampling=number)
    _, facts = decode(data, SETTINGS)
    assert (facts.mode, facts.quality, facts.sampling) == ("RGB", quality, sampling)
    grey = encode(Image.fromarray(NOISE).convert("L"), "JPEG", quality=quality)
    assert decode(grey, SETTINGS)[1].mode == "L" and decode(grey, SETTINGS)[1].quality == quality
    assert decode(encode(Image.fromarray(NOISE), "PNG"), SETTINGS)[1].quality == 0


def test_patches_are_pieces_of_the_image_as_it_is_none_overlapping_and_the_same_every_time():
    image = np.arange(50 * 70, dtype=np.uint16).view(np.uint8).reshape(50, 70, 2)
    image = np.dstack([image, image[:, :, 0] ^ 77])  # every pixel has its own colour
    place = {tuple(pixel): (y, x) for y, line in enumerate(image.tolist()) for x, pixel in enumerate(line)}
    settings = ImageSettings(size=(16, 16), fit="patches", patches=9)
    found = pieces(image, settings)
    assert found.shape == (9, 16, 16, 3)
    corners = [place[tuple(patch[0, 0].tolist())] for patch in found]
    for (y, x), patch in zip(corners, found, strict=True):
        np.testing.assert_array_equal(patch, image[y : y + 16, x : x + 16])
    assert len({place[tuple(pixel)] for patch in found for line in patch.tolist() for pixel in line}) == 9 * 256
    np.testing.assert_array_equal(found, pieces(image, settings))
    assert len(pieces(image, ImageSettings(size=(16, 16), fit="patches", patches=100))) == 12  # all there are
    with pytest.raises(BadImage, match="70x50 pixels; a patch of 64x64 does not fit in"):
        pieces(image, ImageSettings(size=(64, 64), fit="patches"))
