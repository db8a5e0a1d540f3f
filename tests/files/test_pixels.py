"""Pixels of every mode as 8-bit RGB, by a rule that never looks at the largest value of an image."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from cotnet.files.pixels import UnusablePixelsError, to_rgb

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)
WHITE = (255, 255, 255)


def stored(image, form, **options):
    """The image as a file gives it."""
    file = io.BytesIO()
    image.save(file, form, **options)
    return Image.open(file)


def tiff(pixels: np.ndarray, bits: int, kind: int) -> Image.Image:
    """An uncompressed grey TIFF; ``kind`` is 1 for unsigned, 2 for signed integers, 3 for floats."""
    height, width = pixels.shape
    order = ">" if pixels.dtype.byteorder == ">" else "<"
    data = pixels.tobytes()
    entries = [(256, 4, width), (257, 4, height), (258, 3, bits), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
    entries += [(278, 4, height), (279, 4, len(data)), (339, 3, kind)]
    table = struct.pack(f"{order}H", len(entries))
    for tag, form, value in entries:
        table += struct.pack(f"{order}HHI" + ("HH" if form == 3 else "I"), tag, form, 1, value, *([0] * (form == 3)))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(data))
    return Image.open(io.BytesIO(head + data + table + bytes(4)))


@pytest.mark.parametrize(
    ("pixels", "form", "value_range"),
    [
        (RAMP, "PNG", None),
        (RAMP, "PNG", (0, 9)),
        (RAMP.astype(np.uint16) * 257, "PNG", None),
        (RAMP.astype(np.uint16) * 257, "TIFF", None),
        (RAMP.astype(np.uint16) * 16, "PNG", (0, 4080)),
        (RAMP.astype(np.int32) * 257, "TIFF", None),
        (RAMP.astype(np.int32), "TIFF", (0, 255)),
        (RAMP.astype(np.int32) * 100_000, "TIFF", (0, 25_500_000)),
        (RAMP.astype(np.int32) - 100, "TIFF", (-100, 155)),
        (RAMP.astype(np.float32), "TIFF", (0, 255)),
        (RAMP.astype(np.float32) / 255, "TIFF", None),
        (RAMP.astype(np.float32) - 1000, "TIFF", (-1000, -745)),
    ],
)
def test_greys_of_every_depth_keep_their_range(pixels, form, value_range):
    rgb = to_rgb(stored(Image.fromarray(pixels), form), value_range=value_range)
    assert (rgb.mode, rgb.size) == ("RGB", (16, 16))
    assert np.array_equal(np.asarray(rgb), np.repeat(RAMP[..., None], 3, axis=2))


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.float32])
def test_one_grey_has_one_brightness_whatever_else_is_in_the_image(dtype):
    grey, bright, limit = (0.25, 0.98, 1.0) if dtype is np.float32 else (16384, 64000, 65535)
    seen = set()
    for largest in (grey, bright, limit):
        pixels = np.array([[grey, largest]], dtype)
        seen.add(to_rgb(stored(Image.fromarray(pixels), "TIFF")).getpixel((0, 0)))
    assert seen == {(64, 64, 64)}


@pytest.mark.parametrize(("largest", "dtype"), [(1.02, "f4"), (40, "f4"), (256, "f4"), (65536, "i4")])
def test_values_outside_the_range_of_their_type_are_refused_with_the_field(largest, dtype):
    pixels = np.array([[0, largest]], dtype)
    with pytest.raises(
        UnusablePixelsError, match=rf"go from 0 to {largest}, outside .*data\.value_range.*\[0, {largest}\]"
    ):
        to_rgb(stored(Image.fromarray(pixels), "TIFF"))
    assert to_rgb(stored(Image.fromarray(pixels), "TIFF"), value_range=(0, largest / 2)).getpixel((1, 0)) == WHITE


def test_negative_values_are_refused():
    with pytest.raises(UnusablePixelsError, match=r"go from -3 to 7, outside 0 to 65535; .* such as \[-3, 7\]"):
        to_rgb(tiff(np.array([[-3, 7]], "<i2"), 16, 2))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("value_range", [None, (0, 1)])
def test_pixels_that_are_not_finite_are_counted_and_refused(value, value_range):
    pixels = np.array([[0.5, value], [value, 0.5]], np.float32)
    with pytest.raises(UnusablePixelsError, match="2 of its 4 pixels are NaN or infinite"):
        to_rgb(stored(Image.fromarray(pixels), "TIFF"), value_range=value_range)


def test_a_dark_image_of_16_bits_stays_dark():
    rgb = to_rgb(stored(Image.fromarray(np.full((4, 4), 200, np.uint16)), "PNG"))
    assert np.asarray(rgb).max() == 1


@pytest.mark.parametrize("dtype", ["<u2", ">u2"])
def test_the_order_of_bytes_does_not_matter(dtype):
    pixels = (RAMP.astype(np.uint16) * 257).astype(dtype)
    assert np.array_equal(np.asarray(to_rgb(tiff(pixels, 16, 1)))[..., 0], RAMP)


def test_a_grey_map_with_another_maximum_is_read_as_its_format_says():
    content = b"P5 2 2 4095\n" + np.array([0, 1024, 2048, 4095], ">u2").tobytes()
    assert np.asarray(to_rgb(Image.open(io.BytesIO(content))))[..., 0].tolist() == [[0, 64], [128, 255]]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "HSV", "PA", "RGBa"])
def test_other_modes_are_converted_as_pillow_does(mode):
    image = Image.fromarray(RAMP).convert("RGB")
    image = image.convert("RGBA").convert(mode) if mode == "RGBa" else image.convert(mode)
    assert np.array_equal(
        np.asarray(to_rgb(image)), np.asarray(image.convert("RGBA" if "a" in mode else mode).convert("RGB"))
    )


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "La", "RGBa"])
def test_what_looks_the_same_is_the_same(mode):
    """Transparent pixels of different hidden colours, as PNG and WebP writers leave them."""
    images = []
    for hidden in (0, 90, 255):
        image = Image.new("LA", (4, 4), (100, 255))
        image.paste((hidden, 0), (0, 0, 2, 4))
        if mode != "LA":
            image = image.convert("La" if mode == "La" else "RGBA")
        images.append(np.asarray(to_rgb(image.convert(mode) if image.mode != mode else image)))
    assert all(np.array_equal(images[0], other) for other in images[1:])
    assert tuple(images[0][0, 0]) == WHITE
    assert tuple(images[0][0, 3]) == (100, 100, 100)


@pytest.mark.parametrize("form", ["PNG", "WEBP", "TIFF"])
def test_half_transparent_pixels_are_mixed_with_white(form):
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    rgb = to_rgb(stored(image, form, **({"lossless": True} if form == "WEBP" else {})))
    assert rgb.getpixel((0, 0)) == (127, 127, 127)


@pytest.mark.parametrize(
    ("image", "hidden"),
    [
        (Image.new("RGB", (2, 2), (10, 20, 30)), (10, 20, 30)),
        (Image.new("L", (2, 2), 77), 77),
        (Image.new("L", (2, 2), 3).convert("P"), 3),
        (Image.fromarray(np.full((2, 2), 770, np.uint16)), 770),
    ],
)
def test_a_colour_that_a_png_names_as_transparent_is_white(image, hidden):
    assert to_rgb(stored(image, "PNG", transparency=hidden)).getpixel((0, 0)) == WHITE


def test_the_transparent_colour_of_a_gif_is_white():
    image = Image.new("P", (2, 1))
    image.putpalette([9, 9, 9, 200, 0, 0])
    image.putpixel((1, 0), 1)
    rgb = to_rgb(stored(image, "GIF", transparency=0))
    assert [rgb.getpixel((x, 0)) for x in (0, 1)] == [WHITE, (200, 0, 0)]


def test_one_bit_is_black_and_white():
    image = Image.new("1", (2, 1))
    image.putpixel((1, 0), 1)
    assert np.asarray(to_rgb(stored(image, "PNG")))[0].tolist() == [[0, 0, 0], [255, 255, 255]]


def test_sixteen_bits_of_colour_keep_their_brightness():
    header = b"P6 1 1 65535\n"
    assert to_rgb(Image.open(io.BytesIO(header + np.array([65535, 32896, 0], ">u2").tobytes()))).getpixel((0, 0)) == (
        255,
        128,
        0,
    )
