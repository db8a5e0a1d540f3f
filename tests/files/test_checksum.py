import io
import zipfile

import pytest
import torch

from cotnet.files.checksum import check_checksum, write_with_checksum


@pytest.fixture
def checked(tmp_path):
    content = io.BytesIO()
    torch.save({"weight": torch.arange(1000)}, content)
    with (tmp_path / "file.ckpt").open("wb") as file:
        write_with_checksum(file, content.getbuffer())
    return tmp_path / "file.ckpt"


def test_a_file_with_a_checksum_loads_as_before(checked):
    check_checksum(checked)
    assert torch.equal(torch.load(checked, weights_only=True)["weight"], torch.arange(1000))
    assert torch.equal(torch.load(checked, weights_only=True, mmap=True)["weight"], torch.arange(1000))
    with zipfile.ZipFile(checked) as archive:
        assert archive.comment.startswith(b"sha256:")
        assert archive.testzip() is None


@pytest.mark.parametrize("place", [0, 0.5, 0.999])
def test_one_bit_is_noticed(checked, place):
    content = bytearray(checked.read_bytes())
    content[int(place * (len(content) - 80))] ^= 4
    checked.write_bytes(content)
    with pytest.raises(ValueError, match=r"file.ckpt' is damaged: its content does not match its checksum"):
        check_checksum(checked)


def test_a_file_without_a_checksum_passes(tmp_path):
    for content in (b"", b"short", bytes(1000)):
        (tmp_path / "other").write_bytes(content)
        check_checksum(tmp_path / "other")
