from cotnet.data.readers import inspect_images
from cotnet.files.image import UnreadableImageError


class Reader:
    def __init__(self):
        self.seen = []

    def check(self, index):
        self.seen.append(index)
        if index == 8:
            raise UnreadableImageError("8 is broken")
        return [f"{index}"]


def test_every_image_of_a_small_collection_is_checked():
    reader = Reader()
    assert list(inspect_images(reader, 8)) == [(index, [f"{index}"]) for index in range(8)]
    assert sorted(reader.seen) == list(range(8))
    *_, (index, error) = inspect_images(reader, 9)
    assert index == 8
    assert "8 is broken" in str(error)


def test_of_a_large_collection_a_part_that_is_spread_over_it():
    reader = Reader()
    list(inspect_images(reader, 21, limit=4))
    assert sorted(reader.seen) == [0, 6, 12, 18]
