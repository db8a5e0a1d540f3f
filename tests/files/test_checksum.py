import io
import zipfile

import pytest
import torch

from cotnet.files.checksum import check_seal, write_sealed


@pytest.fixture
def sealed(tmp_path):
    content = io.BytesIO()
    torch.save({"weight": torch.arange(1000)}, content)
    with (tmp_path / "file.ckpt").open("wb") as file:
        write_sealed(file, content.getbuffer())
    return tmp_path / "file.ckpt"


def test_a_sealed_file_is_what_it_was(sealed):
    check_seal(sealed)
    assert torch.equal(torch.load(sealed, weights_only=True)["weight"], torch.arange(1000))
    assert torch.equal(torch.load(sealed, weights_only=True, mmap=True)["weight"], torch.arange(1000))
    with zipfile.ZipFile(sealed) as archive:
        assert archive.comment.startswith(b"sha256:")
        assert archive.testzip() is None


@pytest.mark.parametrize("place", [0, 0.5, 0.999])
def test_one_bit_is_noticed(sealed, place):
    content = bytearray(sealed.read_bytes())
    content[int(place * (len(content) - 80))] ^= 4
    sealed.write_bytes(content)
    with pytest.raises(ValueError, match=r"file.ckpt' is damaged: its content does not match its checksum"):
        check_seal(sealed)


def test_a_file_without_a_seal_passes(tmp_path):
    for content in (b"", b"short", bytes(1000)):
        (tmp_path / "other").write_bytes(content)
        check_seal(tmp_path / "other")
