"""Images inside of a tar archive are found, read and named as if they lay in a folder of its name."""

import io
import tarfile

import pytest
from PIL import Image
from torch import Tensor

from cotnet.prediction.inputs import ImageReader, InputFiles
from tests.cli.conftest import CARD


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
    inputs = [ImageReader(CARD)(path) for path in paths[:2]]
    assert all(isinstance(x, Tensor) for x in inputs)
    assert float(inputs[0][0].mean()) < float(inputs[1][0].mean())


def test_what_is_no_archive_is_named(tmp_path):
    (tmp_path / "bad.tar").write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r"cannot read the archive .*bad\.tar"):
        InputFiles([str(tmp_path / "bad.tar")])
    tarfile.open(tmp_path / "none.tar", "w").close()
    with pytest.raises(ValueError, match="holds no images"):
        InputFiles([str(tmp_path / "none.tar")])
