from cotnet.detection.coco.annotations import CocoAnnotations
from cotnet.detection.figures import confusion_matrix, most_frequent_mistakes

BOXES = {"cat": [0, 0, 10, 10], "dog": [20, 0, 10, 10], "herd": [50, 50, 40, 40]}
IDS = {"cat": 4, "dog": 9}


def truth() -> CocoAnnotations:
    objects = [
        {"image_id": 1, "category_id": 4, "bbox": BOXES["cat"]},
        {"image_id": 1, "category_id": 9, "bbox": BOXES["dog"]},
        {"image_id": 1, "category_id": 9, "bbox": BOXES["herd"], "iscrowd": 1},
    ]
    image = {"id": 1, "file_name": "1.png", "width": 100, "height": 100}
    return CocoAnnotations([image], {1: objects}, [4, 9], ["cat", "dog"])


def found(kind: str, box: list[int], score: float = 0.9) -> dict:
    return {"image_id": 1, "category_id": IDS[kind], "bbox": box, "score": score}


def test_right_wrong_missed_and_invented():
    results = [found("cat", BOXES["cat"]), found("cat", BOXES["dog"]), found("dog", [80, 0, 9, 9])]
    assert confusion_matrix(truth(), results).tolist() == [[1, 0, 0], [1, 0, 0], [0, 1, 0]]


def test_an_object_is_taken_once_by_the_surest():
    results = [found("dog", BOXES["cat"], 0.6), found("cat", BOXES["cat"], 0.8)]
    assert confusion_matrix(truth(), results).tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0]]


def test_what_lies_on_a_crowd_or_is_unsure_does_not_count():
    results = [found("dog", [55, 55, 9, 9]), found("cat", [80, 0, 9, 9], 0.3)]
    assert confusion_matrix(truth(), results).tolist() == [[0, 0, 1], [0, 0, 1], [0, 0, 0]]


def test_the_most_frequent_mistakes_come_first():
    counts = confusion_matrix(truth(), [found("cat", BOXES["dog"]), *[found("dog", [80, y, 5, 5]) for y in (0, 20)]])
    assert most_frequent_mistakes(counts) == [(2, 1, 2), (0, 2, 1), (1, 0, 1)]
