import json
import shutil

import pytest
import torch

from cotnet.detection import CocoData


@pytest.fixture
def folder(coco_files):
    """`images/*`, `train.json`, `val.json`."""
    root = coco_files.annotations.parent
    coco_files.images.rename(root / "images")
    shutil.copy(coco_files.annotations, root / "val.json")
    coco_files.annotations.rename(root / "train.json")
    return root


def data(folder, **options) -> CocoData:
    made = CocoData(str(folder), batch_size=2, num_workers=0, **options)
    made.setup("fit")
    return made


def test_serves_training_and_validation(folder):
    made = data(folder, masks=True)
    assert (made.class_names, made.category_ids, made.num_classes) == (["blue", "red"], [3, 7], 2)
    images, targets = next(iter(made.train_dataloader()))
    assert len(images) == len(targets) == 2
    assert targets[0]["masks"].shape[1:] == images[0].shape[1:]
    seen = [int(target["image_id"]) for _, targets in made.val_dataloader() for target in targets]
    assert sorted(seen) == list(range(10, 18))
    assert CocoData(**made.source).val_file == "val.json"


@pytest.mark.parametrize(("flip", "kinds"), [("none", 1), ("horizontal", 2), ("both", 4)])
def test_flips_move_boxes_and_masks_with_the_image(folder, flip, kinds):
    made = data(folder, masks=True, flip=flip)
    torch.manual_seed(0)
    seen = set()
    for _ in range(24):
        image, target = made.train_set[0]
        seen.add(tuple(target["boxes"].flatten().tolist()))
        for box, label, mask in zip(target["boxes"].int(), target["labels"], target["masks"], strict=True):
            x1, y1, x2, y2 = box.tolist()
            assert mask[y1:y2, x1:x2].all()
            assert image[:, y1:y2, x1:x2].flatten(1).mean(1).argmax() == (2, 0)[label - 1]
    assert len(seen) == kinds


def test_a_image_is_changed_by_seed_and_epoch_alone(folder):
    made = data(folder, flip="both")
    made.seed = 3
    loader = made.train_dataloader()
    first = [image for images, _ in loader for image in images]
    torch.rand(5)
    again = [image for images, _ in made.train_dataloader() for image in images]
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    loader.sampler.set_epoch(1)
    names = made.batch_names(1, 2)
    targets = list(loader)[2][1]
    assert [made.train_set.name(int(t["image_id"]) - 10) for t in targets] == names
    other = [image for images, _ in loader for image in images]
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_overfitting_keeps_the_order_of_the_first_epoch(folder):
    made = data(folder)
    orders = [made.batch_names(epoch, 0) for epoch in (0, 1)]
    made.overfit = True
    assert [made.batch_names(epoch, 0) for epoch in (0, 1)] == [orders[0]] * 2 != orders


def test_a_broken_image_stops_or_is_skipped(folder, capsys):
    path = folder / "images" / "1.png"
    path.write_bytes(path.read_bytes()[:60])
    message = r"1 of 8 images cannot be used: image .*1\.png cannot be read: .*skip_unreadable 1"
    with pytest.raises(ValueError, match=message):
        data(folder).check_images()
    made = data(folder, skip_unreadable=1)
    made.check_images()
    assert len(made.train_set) == len(made.val_set) == 7
    assert [name[-5:] for name in made.skipped()] == ["1.png"] * 2
    assert capsys.readouterr().out.count("1 of 8 images cannot be used") == 2
    assert len(list(made.val_dataloader())) == 4


def test_what_is_left_out_is_printed(folder, capsys):
    content = json.loads((folder / "train.json").read_text())
    content["annotations"][0]["bbox"] = [0, 0, 0, 0]
    (folder / "train.json").write_text(json.dumps(content))
    data(folder)
    assert "train.json: 1 boxes of no area or outside their image left out: annotation 1 " in capsys.readouterr().out


def test_other_categories_are_named(folder):
    content = json.loads((folder / "val.json").read_text())
    content["categories"][0]["name"] = "green"
    (folder / "val.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"categories differ: .*val\.json has objects of green, .* are blue, red"):
        data(folder)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "data.batch_size must be at least 1, got 0"),
        ({"num_workers": -1}, "data.num_workers must be at least 0"),
        ({"epoch_images": 1}, "data.epoch_images must be at least data.batch_size 2, got 1"),
        ({"flip": "up"}, "data.flip must be one of none, horizontal, both"),
    ],
)
def test_wrong_numbers_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        CocoData("somewhere", **options)
