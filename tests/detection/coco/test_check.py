from cotnet.detection.coco import check
from cotnet.detection.coco.dataset import CocoDataset


def test_progress_is_told_of_long_work(coco_files, monkeypatch):
    monkeypatch.setattr(check, "_PROGRESS_S", -1)
    lines = []
    images = CocoDataset(coco_files.read(), coco_files.files)
    assert check.check_images(images, lines.append) == ({}, [])
    assert len(lines) == 8
    assert lines[-1].startswith("checked 8 of 8 images of ")
