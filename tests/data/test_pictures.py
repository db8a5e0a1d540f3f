import pytest

from cotnet.data import pictures
from cotnet.data.pictures import check_pictures


class Reader:
    def __init__(self):
        self.seen = []

    def check(self, index):
        self.seen.append(index)
        if index == 8:
            raise ValueError("8 is broken")


def test_every_picture_of_a_small_collection_is_checked():
    reader = Reader()
    check_pictures(reader, 8)
    assert sorted(reader.seen) == list(range(8))
    with pytest.raises(ValueError, match="8 is broken"):
        check_pictures(reader, 9)


def test_of_a_large_collection_a_part_that_is_spread_over_it(monkeypatch):
    monkeypatch.setattr(pictures, "_CHECKED", 4)
    reader = Reader()
    check_pictures(reader, 21)
    assert sorted(reader.seen) == [0, 6, 12, 18]
