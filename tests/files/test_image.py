"""Images of every mode as 8-bit RGB."""

import io

import numpy as np
import pytest
from PIL import Image

from cotnet.files.image import to_rgb

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


def stored(image, form):
    """The image as a file gives it."""
    file = io.BytesIO()
    image.save(file, form)
    return Image.open(file)


@pytest.mark.parametrize(
    ("pixels", "form"),
    [
        (RAMP, "PNG"),
        (RAMP.astype(np.uint16) * 257, "PNG"),
        (RAMP.astype(np.uint16) * 257, "TIFF"),
        (RAMP.astype(np.int32), "TIFF"),
        (RAMP.astype(np.int32) * 257, "TIFF"),
        (RAMP.astype(np.int32) * 100_000, "TIFF"),
        (RAMP.astype(np.float32), "TIFF"),
        (RAMP.astype(np.float32) / 255, "TIFF"),
    ],
)
def test_greys_of_every_depth_keep_their_range(pixels, form):
    rgb = to_rgb(stored(Image.fromarray(pixels), form))
    assert (rgb.mode, rgb.size) == ("RGB", (16, 16))
    assert np.array_equal(np.asarray(rgb), np.repeat(RAMP[..., None], 3, axis=2))


def test_a_dark_image_of_16_bits_stays_dark():
    rgb = to_rgb(stored(Image.fromarray(np.full((4, 4), 200, np.uint16)), "PNG"))
    assert np.asarray(rgb).max() == 1


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr"])
def test_other_modes_are_converted_as_pillow_does(mode):
    image = Image.fromarray(RAMP).convert("RGB").convert(mode)
    assert np.array_equal(np.asarray(to_rgb(image)), np.asarray(image.convert("RGB")))
