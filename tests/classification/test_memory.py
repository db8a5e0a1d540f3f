from types import SimpleNamespace

import pytest
from torch import nn

from cotnet.classification import Classifier
from cotnet.classification.memory import largest_output


def images(size, batch_size):
    return SimpleNamespace(trainer=None, preprocessing={"input_size": [3, size, size]}, batch_size=batch_size)


def test_the_largest_output_is_found_and_nothing_is_computed():
    network = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.AvgPool2d(2), nn.Flatten())
    assert largest_output(network, (2, 3, 10**6, 10**6)) == 2 * 8 * 10**12


@pytest.mark.parametrize(
    ("kwargs", "size", "batch_size", "words"),
    [
        ({}, 10**6, 2, r"a single map of cotnet_nano takes [\d,]+ GiB for 2 images of 1000000 pixels"),
        ({}, 10**9, 2, "cannot train on 2 images of 1000000000 pixels"),
        ({}, 64, 10**8, r"a single map of cotnet_nano takes [\d,]+ GiB for 100000000 images"),
        ({"in_chans": 1}, 64, 2, "in_chans must be 3, got 1"),
    ],
)
def test_impossible_sizes_are_named(kwargs, size, batch_size, words):
    model = Classifier("cotnet_nano", num_classes=3, kwargs=kwargs)
    with pytest.raises(ValueError, match=words):
        model.check_data(images(size, batch_size))


def test_possible_sizes_pass():
    Classifier("cotnet_nano", num_classes=3).check_data(images(32, 64))
