import pytest


def test_classes_are_matched_by_name(coco_files):
    annotations = coco_files.read()
    matched = annotations.with_classes(["red", "green", "blue"], [1, 2, 3])
    assert (matched.class_names, matched.category_ids) == (["red", "green", "blue"], [1, 2, 3])
    for image, objects in annotations.objects.items():
        expected = [{7: 1, 3: 3}[one["category_id"]] for one in objects]
        assert [one["category_id"] for one in matched.objects[image]] == expected
    assert "1 of 3 classes are not in it and get no score: green" in matched.report()
    with pytest.raises(ValueError, match=r"has objects of blue, the classes of the network are red; rename or remove"):
        annotations.with_classes(["red"], [1])


def test_a_split_depends_on_names_and_seed_alone(coco_files):
    first = [sorted(part.objects) for part in coco_files.read().split(0.3, seed=3)]
    coco_files.edit(lambda c: (c["images"].reverse(), c["annotations"].reverse()))
    assert [sorted(part.objects) for part in coco_files.read().split(0.3, seed=3)] == first
    assert [len(part) for part in first] == [6, 2]
    other = [sorted(part.objects) for part in coco_files.read().split(0.3, seed=4)]
    assert other != first
    with pytest.raises(ValueError, match="1 image cannot be split into training and validation"):
        coco_files.read().only([10]).split(0.3, seed=3)
