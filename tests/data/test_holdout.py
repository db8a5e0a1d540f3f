"""The division of images without splits depends on the share, the seed and the images' names."""

import random

import pytest

from cotnet.data.holdout import digest, hold_out, relative

SIZES = (2, 3, 10, 101)
NAMES = [f"{label}/{number}.png" for label, size in enumerate(SIZES) for number in range(size)]
LABELS = [label for label, size in enumerate(SIZES) for _ in range(size)]


@pytest.mark.parametrize(("share", "counts"), [(0.2, (1, 1, 2, 20)), (0.5, (1, 2, 5, 50)), (0.99, (1, 2, 9, 100))])
def test_every_class_gives_its_share_and_keeps_one(share, counts):
    chosen = hold_out(NAMES, LABELS, share=share, seed=0)
    assert tuple(sum(name.startswith(f"{label}/") for name in chosen) for label in range(4)) == counts


def test_the_order_of_the_images_does_not_matter_and_the_seed_does():
    order = random.Random(0).sample(range(len(NAMES)), len(NAMES))
    chosen = hold_out(NAMES, LABELS, share=0.2, seed=0)
    assert hold_out([NAMES[i] for i in order], [LABELS[i] for i in order], share=0.2, seed=0) == chosen
    other = hold_out(NAMES, LABELS, share=0.2, seed=1)
    assert other != chosen
    assert digest(other) != digest(chosen) == digest(sorted(chosen))


def test_a_larger_share_holds_out_the_same_images_and_more():
    small, large = (hold_out(NAMES, LABELS, share=share, seed=0) for share in (0.1, 0.4))
    assert small < large


def test_a_class_of_one_image_is_named():
    with pytest.raises(ValueError, match=r"'1/x\.png' is the only image of its class"):
        hold_out(["0/a.png", "0/b.png", "1/x.png"], [0, 0, 1], share=0.2, seed=0)


def test_names_that_are_no_text_can_be_hashed():
    assert len(hold_out(["0/\udcff", "0/b"], [0, 0], share=0.2, seed=0)) == 1


def test_relative_names_have_slashes():
    assert relative(["/data/set/a/b.png"], "/data/set") == ["a/b.png"]
