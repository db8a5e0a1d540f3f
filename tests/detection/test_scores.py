import json

import pytest
import torch

pytest.importorskip("faster_coco_eval")

from cotnet.detection.scores import average_precision, gather, to_results


@pytest.fixture
def annotations(coco_files):
    return coco_files.read()


def detections(annotations, *, masks: bool) -> list[dict]:
    """The truth twice, moved about, sometimes of the wrong class."""
    generator = torch.Generator().manual_seed(0)
    results = []
    for image in annotations.images:
        boxes, labels = [], []
        for one in annotations.objects[image["id"]] * 2:
            x, y, w, h = torch.tensor(one["bbox"]) + torch.randn(4, generator=generator)
            boxes.append([float(x), float(y), float(x + w), float(y + h)])
            right = 1 + annotations.category_ids.index(one["category_id"])
            labels.append(right if torch.rand((), generator=generator) < 0.8 else 3 - right)
        found = {
            "boxes": torch.tensor(boxes),
            "labels": torch.tensor(labels),
            "scores": torch.rand(len(boxes), generator=generator),
        }
        if masks:
            found["masks"] = torch.zeros(len(boxes), 1, image["height"], image["width"])
            for mask, (x1, y1, x2, y2) in zip(found["masks"], boxes, strict=True):
                mask[0, max(int(y1), 0) : int(y2) + 1, max(int(x1), 0) : int(x2)] = 0.9
        results += to_results(found, image["id"], annotations.category_ids)
    return results


@pytest.mark.parametrize("masks", [False, True], ids=["boxes", "masks"])
def test_agrees_with_pycocotools(annotations, masks, tmp_path):
    coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    results = detections(annotations, masks=masks)
    ours = average_precision(annotations, results, masks=masks)
    truth = tmp_path / "truth.json"
    entries = [one for objects in annotations.objects.values() for one in objects]
    categories = [{"id": i, "name": n} for i, n in zip(annotations.category_ids, annotations.class_names, strict=True)]
    truth.write_text(json.dumps({"images": annotations.images, "annotations": entries, "categories": categories}))
    theirs = coco.COCO(str(truth))
    run = cocoeval.COCOeval(theirs, theirs.loadRes([dict(result) for result in results]), "segm" if masks else "bbox")
    run.evaluate()
    run.accumulate()
    run.summarize()
    expected = [value if value > -1 else float("nan") for value in run.stats]
    actual = [ours.ap, ours.ap50, ours.ap75, ours.small, ours.medium, ours.large, ours.recall]
    assert actual == pytest.approx([*expected[:6], expected[8]], abs=1e-6, nan_ok=True)
    assert 0.05 < ours.ap < 0.95
    for k, value in enumerate(ours.per_class):
        of_class = run.eval["precision"][:, :, k, 0, -1]
        assert value == pytest.approx(of_class[of_class > -1].mean(), abs=1e-6)
    assert ours.curves.shape == (2, 101)


def test_the_truth_itself_scores_one(annotations):
    results = [
        {"image_id": image, "category_id": one["category_id"], "bbox": one["bbox"], "score": 0.9}
        for image, objects in annotations.objects.items()
        for one in objects
        if not one["iscrowd"]
    ]
    scores = average_precision(annotations, results)
    assert scores.ap == pytest.approx(1.0)
    assert scores.per_class50 == pytest.approx([1.0, 1.0])


def test_no_detections_score_zero(annotations):
    scores = average_precision(annotations, [])
    assert (scores.ap, scores.ap50, scores.per_class) == (0.0, 0.0, [0.0, 0.0])


def test_ranks_join_their_results_each_image_once(monkeypatch):
    ranks = [{1: [{"score": 0.1}], 2: []}, {3: [{"score": 0.3}], 1: [{"score": 0.1}]}]  # 1 fills up the last batch

    def gather_object(parts, own):
        assert own is ranks[0]
        parts[:] = ranks

    monkeypatch.setattr(torch.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)
    monkeypatch.setattr(torch.distributed, "all_gather_object", gather_object)
    assert gather(ranks[0]) == {1: [{"score": 0.1}], 2: [], 3: [{"score": 0.3}]}
