import random

import numpy as np
import pytest
from PIL import Image

from cotnet.data.rand_augment import Cutout, rand_augment

ADVANCED = "rand-m15-n2-mstd0.5-mmax30-cutout"
MEAN = (0.485, 0.456, 0.406)


def test_the_advanced_policy_goes_beyond_the_usual_range_and_cuts_out():
    transform = rand_augment(ADVANCED, size=224, mean=MEAN)
    assert transform.num_layers == 2
    assert isinstance(transform.ops[-1], Cutout)
    assert {(op.prob, op.magnitude) for op in transform.ops} == {(0.5, 15)}
    assert all(op.magnitude_std == 0.5 and op.magnitude_max == 30 for op in transform.ops[:-1])
    assert (transform.ops[-1].std, transform.ops[-1].limit) == (0.5, 30)


def test_a_magnitude_above_ten_needs_a_higher_bound():
    """What the policy would be without ``mmax``: enhancements of at most 1.9, not about 2.8."""
    image = Image.effect_noise((16, 16), 40).convert("RGB")
    seen = {}
    for policy in ("rand-m15", "rand-m15-mmax30"):
        op = next(op for op in rand_augment(policy, size=16, mean=MEAN).ops if op.name == "Brightness")
        op.prob, factors = 1.0, []
        op.aug_fn = lambda image, factor, factors=factors, **_: factors.append(factor) or image
        op(image)
        seen[policy] = factors[0]
    assert seen == pytest.approx({"rand-m15": 1.9, "rand-m15-mmax30": 2.8})


def test_cutout_covers_a_square_of_the_given_size():
    random.seed(0)
    image = Image.new("RGB", (224, 224), "white")
    sizes = []
    for _ in range(50):
        covered = np.array(Cutout(1.0, 15, limit=30, fill=(1, 2, 3))(image)) == (1, 2, 3)
        rows, columns = covered.all(2).any(1), covered.all(2).any(0)
        assert covered.all(2).sum() == rows.sum() * columns.sum()
        sizes.append(max(rows.sum(), columns.sum()))
    assert max(sizes) == 120
    assert np.array(image).min() == 255, "the image itself stays as it is"


def test_cutout_leaves_a_share_alone():
    random.seed(0)
    image = Image.new("RGB", (32, 32), "white")
    touched = sum(Cutout(0.5, 10, fill=(0, 0, 0))(image) is not image for _ in range(200))
    assert 70 < touched < 130


@pytest.mark.parametrize("policy", ["rand-m9-zzz", "augmix", "rand-cutout-m9", ""])
def test_an_unknown_policy_is_named(policy):
    with pytest.raises(ValueError, match=f"got '{policy}'"):
        rand_augment(policy, size=32, mean=MEAN)
