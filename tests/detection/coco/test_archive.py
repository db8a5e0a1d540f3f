import pickle
import zipfile

import pytest
import torch

from cotnet.detection.coco.annotations import read_coco
from cotnet.detection.coco.archive import open_files
from cotnet.detection.coco.dataset import CocoDataset


def test_a_zip_archive_reads_as_the_folder_does(coco_files, tmp_path):
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for path in (coco_files.annotations, *coco_files.images.iterdir()):
            file.write(path, path.relative_to(tmp_path))
        file.write(coco_files.annotations, "../outside.png")
    files = pickle.loads(pickle.dumps(open_files(archive)))  # as a loader process gets it
    annotations = read_coco(files, "annotations.json", "images")
    assert not annotations.problems
    for ours, theirs in zip(
        CocoDataset(annotations, files), CocoDataset(coco_files.read(), coco_files.files), strict=True
    ):
        assert torch.equal(ours[0], theirs[0])
    coco_files.edit(lambda c: c["images"][0].update(file_name="../../outside.png"))
    with zipfile.ZipFile(archive, "a") as file:
        file.write(coco_files.annotations, "edited.json")
    report = read_coco(open_files(archive), "edited.json", "images").report()
    assert "1 images outside the folder left out: ../../outside.png" in report
    assert sorted(path.name for path in tmp_path.iterdir()) == ["annotations.json", "images", "set.zip"]


def test_what_is_neither_folder_nor_archive(coco_files, tmp_path):
    with pytest.raises(ValueError, match="nowhere does not exist; name a folder or a zip archive"):
        open_files(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"annotations\.json cannot be read as a zip archive"):
        open_files(coco_files.annotations)
