"""Which names are images, and images of every mode as 8-bit RGB."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cotnet.files.image import SUFFIXES, UnreadableImageError, is_image_name, open_image, suffix_of, to_rgb

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


@pytest.mark.parametrize("name", ["a.jpg", "A.JPEG", "folder.d/b.Tiff", "c.avif", "d.jfif", "e.jp2", "f.mpo", "g.tga"])
def test_names_of_images(name):
    assert is_image_name(name)


@pytest.mark.parametrize("name", ["a.pdf", "b.h5", "c.mpg", "d.eps", ".jpg", ".hidden.png", "folder.jpg/readme", "jpg"])
def test_names_of_other_files(name):
    assert not is_image_name(name)


def test_pillow_reads_every_listed_format():
    assert Image.registered_extensions().keys() >= SUFFIXES


@pytest.fixture(params=["path", "str", "bytes", "file"])
def source(request, tmp_path):
    """Gives encoded bytes as one of the sources that an image can have."""
    path = tmp_path / "image"

    def make(content: bytes):
        path.write_bytes(content)
        return {"path": path, "str": str(path), "bytes": content, "file": io.BytesIO(content)}[request.param]

    return make


def encoded(form="PNG", size=(40, 20), **options) -> bytes:
    file = io.BytesIO()
    Image.effect_noise(size, 80).convert("RGB").save(file, form, **options)
    return file.getvalue()


def test_every_source_gives_the_same_image(source):
    content = encoded()
    with Image.open(io.BytesIO(content)) as image:
        assert np.array_equal(np.asarray(open_image(source(content))), np.asarray(image))


def test_an_image_is_turned_upright_unless_it_is_to_stay():
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encoded("JPEG", exif=exif.tobytes())
    assert open_image(content).size == (20, 40)
    assert open_image(content, apply_orientation=False).size == (40, 20)


def test_reduced_images_are_small_where_the_format_allows_it():
    assert open_image(encoded("JPEG", size=(800, 400)), reduced=True).size == (100, 50)
    assert open_image(encoded("PNG"), reduced=True).size == (40, 20)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "it is not an image"), (b"no image", "it is not an image"), (encoded()[:-200], "truncated|broken")],
)
def test_the_reason_stands_alone_or_in_a_sentence_with_the_name(source, content, reason):
    with pytest.raises(UnreadableImageError, match=rf"^[^;]*({reason})[^;]*$"):
        open_image(source(content))
    with pytest.raises(
        UnreadableImageError, match=rf"^cannot read the image x/a: .*({reason}).*; repair or remove it$"
    ):
        open_image(source(content), name="x/a")


def test_a_missing_file_is_unreadable():
    with pytest.raises(UnreadableImageError, match="No such file"):
        open_image(Path("nowhere.png"))


@pytest.mark.parametrize(("form", "suffix"), [("JPEG", "jpg"), ("TIFF", "tif"), ("PNG", "png"), ("WEBP", "webp")])
def test_the_suffix_of_encoded_bytes(form, suffix):
    assert suffix_of(encoded(form)) == suffix
    assert suffix_of(b"no image") == "bin"
