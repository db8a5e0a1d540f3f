"""Which names are images, how they are decoded, and what is said where they cannot be."""

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cotnet.files.image import (
    SUFFIXES,
    UnreadableImageError,
    check_image,
    is_image_name,
    open_image,
    suffix_of,
)


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


def test_damaged_orientation_data_leave_the_pixels_as_they_are():
    exif = Image.Exif()
    exif[0x0112] = 6
    plain = encoded("JPEG")
    for damage in (b"Exif\0\0" + b"\xff" * 30, b"Exif\0\0II*\0\x08\0\0\0\xff\xff", exif.tobytes()[:20]):
        content = plain[:2] + b"\xff\xe1" + (len(damage) + 2).to_bytes(2, "big") + damage + plain[2:]
        assert open_image(content).size == (40, 20)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_is_ignored(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert open_image(encoded("JPEG", exif=exif.tobytes())).size == (40, 20)


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


@pytest.fixture
def limits():
    """Pillow's limit of pixels, put back afterwards."""
    before = Image.MAX_IMAGE_PIXELS
    yield
    Image.MAX_IMAGE_PIXELS = before


def test_the_limit_of_pixels_is_named_with_what_lifts_it(limits, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    content = encoded()  # 800 pixels, more than twice that
    advice = r"\(.*800 pixels.*600.*\); raise the limit by --data\.max_pixels or by the environment variable COTNET_M"
    with pytest.raises(UnreadableImageError, match=rf"cannot read the image x: .*{advice}"):
        open_image(content, name="x")
    with pytest.raises(UnreadableImageError, match=advice):
        open_image(content)
    assert open_image(content, max_pixels=800).size == (40, 20)


def test_an_environment_variable_lifts_the_limit(limits, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    monkeypatch.setenv("COTNET_MAX_PIXELS", "800")
    assert open_image(encoded()).size == (40, 20)
    monkeypatch.setenv("COTNET_MAX_PIXELS", "799")
    with pytest.raises(UnreadableImageError, match=r"800 pixels exceed the limit of 799"):
        open_image(encoded())


def test_heic_names_the_package_that_reads_it(monkeypatch):
    content = b"\0\0\0\x18ftypheic" + bytes(100)
    monkeypatch.setattr("cotnet.files.image._is_installed", lambda: False)
    assert not is_image_name("a.HEIC")
    with pytest.raises(UnreadableImageError, match=r"x: it is in HEIC format; convert it, or pip install pillow-heif$"):
        open_image(content, name="x")
    monkeypatch.setattr("cotnet.files.image._is_installed", lambda: True)
    assert is_image_name("a.HEIC")


def test_a_kind_of_tiff_that_is_not_supported_is_not_called_no_image():
    with pytest.raises(
        UnreadableImageError, match=r"its kind of TIFF is not supported.*; save it with 8, 16 or 32 bits"
    ):
        open_image(b"II*\0" + bytes(60))


@pytest.mark.parametrize("form", ["GIF", "TIFF", "PNG", "WEBP"])
def test_the_first_of_several_frames_is_used_and_it_is_remarked(form):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    file = io.BytesIO()
    frames[0].save(
        file, form, save_all=True, append_images=frames[1:], **({"lossless": True} if form == "WEBP" else {})
    )
    assert open_image(file.getvalue()).getpixel((0, 0)) == (255, 0, 0)
    assert check_image(file.getvalue()) == ["have several frames or pages, of which the first is used"]


def test_the_further_images_of_a_camera_are_not_remarked():
    file = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(file, "MPO", save_all=True, append_images=[Image.new("RGB", (8, 8), "blue")])
    red, green, _ = open_image(file.getvalue()).getpixel((0, 0))
    assert (red > 250, green < 5) == (True, True)
    assert check_image(file.getvalue()) == []


def test_images_deeper_than_8_bits_are_remarked():
    file = io.BytesIO()
    Image.fromarray(np.zeros((4, 4), np.uint16)).save(file, "PNG")
    assert check_image(file.getvalue()) == [
        "hold 16-bit integers, read as 0 to 65535 (data.value_range sets another range)"
    ]
    assert check_image(file.getvalue(), value_range=(0, 4095))[0].startswith("hold 16-bit integers, read as 0 to 4095")
    assert check_image(encoded()) == check_image(encoded("JPEG")) == []


def test_a_check_is_as_strict_as_decoding():
    with pytest.raises(UnreadableImageError, match=r"x: .*truncated"):
        check_image(encoded("JPEG", size=(400, 400))[:-5000], name="x")
