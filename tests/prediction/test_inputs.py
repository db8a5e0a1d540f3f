"""Which images files, folders, archives and globs name, and how they are read."""

import io
import tarfile

import pytest
import torch
from PIL import Image
from torch import Tensor

from cotnet.files.image import open_image
from cotnet.prediction.inputs import InputFiles
from cotnet.prediction.stream import read_input
from cotnet.prediction.transform import input_transform
from tests.cards import CARD

# From the upright image to the stored one, for EXIF's orientations from 2 on.
TURNS = ["FLIP_LEFT_RIGHT", "ROTATE_180", "FLIP_TOP_BOTTOM", "TRANSPOSE", "ROTATE_90", "TRANSVERSE", "ROTATE_270"]


def _read(path):
    return read_input(path, input_transform(CARD))


@pytest.fixture
def folder(tmp_path):
    for name in ("a.jpg", "deep/er/b.PNG", ".hidden.jpg", "notes.txt", "[x].jpg", "c.dat"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    (tmp_path / "folder.jpg").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("", ["[x].jpg", "a.jpg", "deep/er/b.PNG"]),
        ("**", ["[x].jpg", "a.jpg", "deep/er/b.PNG"]),
        ("*.jpg", ["[x].jpg", "a.jpg"]),
        ("*.dat", ["c.dat"]),
        ("[x].jpg", ["[x].jpg"]),
        ("notes.txt", ["notes.txt"]),
    ],
)
def test_words(folder, word, expected):
    assert list(InputFiles([str(folder / word)])) == [str(folder / name) for name in expected]


def test_each_image_once_in_order(folder):
    words = [str(folder / "deep"), str(folder), str(folder / "a.jpg")]
    assert [path.split("/")[-1] for path in InputFiles(words)] == ["b.PNG", "[x].jpg", "a.jpg"]


def test_nothing_found(folder):
    with pytest.raises(FileNotFoundError, match="matches nothing"):
        InputFiles([str(folder / "*.gif")])
    with pytest.raises(ValueError, match="holds no images"):
        InputFiles([str(folder / "folder.jpg")])


def test_kinds_of_images_become_three_channels(tmp_path):
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"):
        path = tmp_path / f"{mode.replace(';', '_')}.tif"
        Image.new(mode, (33, 7)).save(path) if mode not in ("LA",) else Image.new(mode, (33, 7)).save(
            path.with_suffix(".png")
        )
    for path in InputFiles([str(tmp_path)]):
        x = _read(path)
        assert getattr(x, "shape", x) == (3, 32, 32), path


def test_a_truncated_image_is_an_answer_not_an_error(tmp_path):
    path = tmp_path / "a.png"
    Image.effect_noise((64, 64), 50).save(path)
    path.write_bytes(path.read_bytes()[:900])
    reason = _read(str(path))
    assert isinstance(reason, str)
    assert reason


def test_a_folder_in_order_without_following_links_back(folder):
    (folder / "deep" / "a.jpg").write_bytes(b"")
    (folder / "b.jpg").write_bytes(b"")
    (folder / "loop").symlink_to(folder, target_is_directory=True)
    names = [path.removeprefix(f"{folder}/") for path in InputFiles([str(folder)])]
    assert names == ["[x].jpg", "a.jpg", "b.jpg", "deep/a.jpg", "deep/er/b.PNG"]


def test_linked_folders_are_followed_once_and_the_rest_is_counted(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    for name in ("x.jpg", "y.csv", "z.csv"):
        (elsewhere / name).write_bytes(b"")
    (folder / "linked").symlink_to(elsewhere, target_is_directory=True)
    (folder / "once_more").symlink_to(elsewhere, target_is_directory=True)
    (folder / "up").symlink_to(folder.parent, target_is_directory=True)
    (folder / "gone.jpg").symlink_to(folder / "nowhere.jpg")
    (folder / "photo.avif").write_bytes(b"")
    files = InputFiles([str(folder)])
    for _ in range(2):  # the counts are of one search
        names = [path.removeprefix(f"{folder}/") for path in files]
        assert names == ["[x].jpg", "a.jpg", "deep/er/b.PNG", "linked/x.jpg", "photo.avif"]
        counts = files.skipped.counts
        assert (counts[".csv"], counts[".txt"], counts[".dat"], counts["broken links"]) == (2, 1, 1, 1)
        assert str(files.skipped).startswith("8 files skipped: 2 ")


def test_the_current_folder(folder, monkeypatch):
    monkeypatch.chdir(folder)
    assert list(InputFiles(["."])) == ["[x].jpg", "a.jpg", "deep/er/b.PNG"]


def test_a_turned_image_is_seen_upright(tmp_path):
    """By all eight orientations of EXIF; the pixels of PNG come back as they went in."""
    upright = Image.effect_noise((40, 32), 90).convert("RGB")
    turns = [None, *(Image.Transpose[name] for name in TURNS)]
    upright.save(tmp_path / "1.png")
    expected = _read(str(tmp_path / "1.png"))
    for orientation, turn in enumerate(turns, 1):
        exif = Image.Exif()
        exif[0x0112] = orientation
        stored = upright if turn is None else upright.transpose(turn)
        stored.save(tmp_path / "turned.png", exif=exif)
        assert torch.equal(_read(str(tmp_path / "turned.png")), expected), orientation
        assert open_image(tmp_path / "turned.png").tobytes() == upright.tobytes(), orientation


def test_damaged_exif_data_do_not_make_a_image_unreadable(tmp_path):
    Image.new("RGB", (40, 32), "red").save(tmp_path / "x.jpg", exif=b"Exif\0\0MM\0*\0\0\xff\xff")
    assert isinstance(_read(str(tmp_path / "x.jpg")), torch.Tensor)


@pytest.fixture
def archive(tmp_path):
    with tarfile.open(tmp_path / "some.tar", "w") as tar:
        for name, shade in (("b.png", 10), ("a.cls", 0), ("deep/c.png", 200)):
            out = io.BytesIO()
            Image.new("RGB", (32, 32), (shade, 0, 0)).save(out, "PNG")
            entry = tarfile.TarInfo(name)
            entry.size = len(out.getvalue())
            tar.addfile(entry, io.BytesIO(out.getvalue()))
    return str(tmp_path / "some.tar")


def test_images_of_an_archive(archive):
    paths = list(InputFiles([archive]))
    assert paths == [f"{archive}/b.png", f"{archive}/deep/c.png"]
    inputs = [_read(path) for path in paths[:2]]
    assert all(isinstance(x, Tensor) for x in inputs)
    assert float(inputs[0][0].mean()) < float(inputs[1][0].mean())


def test_what_is_no_archive_is_named(tmp_path):
    (tmp_path / "bad.tar").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"cannot read the archive .*bad\.tar"):
        InputFiles([str(tmp_path / "bad.tar")])
    tarfile.open(tmp_path / "none.tar", "w").close()
    with pytest.raises(ValueError, match="holds no images"):
        InputFiles([str(tmp_path / "none.tar")])
