import pytest
import torch

from cotnet.detection.coco.dataset import CocoDataset, collate


def test_reads_images_and_targets(coco_files):
    annotations = coco_files.read()
    assert (annotations.category_ids, annotations.class_names) == ([3, 7], ["blue", "red"])
    assert not annotations.report()
    images = CocoDataset(annotations, coco_files.files, masks=True)
    assert len(images) == 8
    for image, target in (images[i] for i in range(8)):
        assert image.dtype == torch.float32
        assert 0 <= image.min() < image.max() <= 1
        assert type(image) is type(target["boxes"]) is torch.Tensor
        for box, label, mask in zip(target["boxes"], target["labels"], target["masks"], strict=True):
            x1, y1, x2, y2 = box.int().tolist()
            assert mask.shape == image.shape[1:]
            assert mask[y1:y2, x1:x2].all()
            assert mask.sum() == (x2 - x1) * (y2 - y1)
            assert image[:, y1:y2, x1:x2].flatten(1).mean(1).argmax() == (2, 0)[label - 1]
    assert [len(images[i][1]["boxes"]) for i in (2, 3)] == [3, 2]  # a crowd is no example
    batch, targets = collate([images[0], images[1]])
    assert [tuple(image.shape) for image in batch] == [(3, 80, 64), (3, 64, 96)]
    assert [int(target["image_id"]) for target in targets] == [10, 11]


def test_a_broken_image_is_named(coco_files):
    annotations = coco_files.read()
    path = coco_files.images / "1.png"
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ValueError, match=r"1\.png cannot be read"):
        CocoDataset(annotations, coco_files.files)[1]


def test_a_size_that_differs_is_named(coco_files):
    annotations = coco_files.edit(lambda c: c["images"][0].update(width=65)).read()
    with pytest.raises(ValueError, match=r"0\.png has 64 x 80 pixels, .* says 65 x 80"):
        CocoDataset(annotations, coco_files.files)[0]
