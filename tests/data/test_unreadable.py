import pytest

from cotnet.data.unreadable import UnreadableImages
from cotnet.files.image import UnreadableImageError


def of_four(*skipped):
    found = UnreadableImages(4, tolerated=2)
    for index in skipped:
        found.skip(index, UnreadableImageError(f"{index} is broken"))
    return found


def test_a_checkpoint_keeps_which_they_are_and_counts_on():
    resumed = of_four()
    resumed.from_plain(of_four(3, 1).to_plain("image {}".format))
    assert resumed.indices() == [1, 3]
    assert resumed.names("again {}".format) == ["image 1", "image 3"]
    with pytest.raises(ValueError, match=r"0 is broken; data\.skip_unreadable 2 allows no more"):
        resumed.skip(0, UnreadableImageError("0 is broken"))


def test_of_a_split_that_has_changed_it_keeps_the_names():
    resumed = UnreadableImages(5, tolerated=2)
    resumed.from_plain(of_four(3).to_plain("image {}".format))
    assert resumed.indices() == []
    assert resumed.names(str) == ["image 3"]


def test_each_name_is_asked_for_once():
    asked = []
    found = of_four(2)
    for _ in range(2):
        assert found.names(lambda index: asked.append(index) or f"image {index}") == ["image 2"]
    assert asked == [2]
