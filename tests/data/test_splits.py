"""Splits by their usual names, and never the test split in the place of validation."""

import pytest

from cotnet.data.splits import TRAIN, VAL, find_split, train_split_of, val_split_of


@pytest.mark.parametrize(
    ("available", "train", "val"),
    [
        (["train", "val"], "train", "val"),
        (["training", "validation"], "training", "validation"),
        (["Train", "Valid", "Test"], "Train", "Valid"),
        (["TRAIN", "VAL"], "TRAIN", "VAL"),
        (["test", "train", "valid"], "train", "valid"),
        (["Train", "train", "Val", "val"], "train", "val"),
        (["train", "validation", "val"], "train", "val"),
    ],
)
def test_usual_names(available, train, val):
    assert train_split_of(available, place="it") == train
    for evaluation in (False, True):
        assert val_split_of(available, place="it", evaluation=evaluation) == val


@pytest.mark.parametrize("test", ["test", "Testing", "TEST"])
def test_the_test_split_is_for_evaluation(test):
    assert val_split_of(["train", test], place="it", evaluation=True) == test
    message = f"^it has no split val, valid or validation, only {test}, train; .* by --data.val_split {test}$"
    with pytest.raises(ValueError, match=message):
        val_split_of(["train", test], place="it", evaluation=False)


def test_what_is_there_is_named():
    with pytest.raises(ValueError, match=r"^it has no split train or training, only a, b; name one by --data.train_sp"):
        train_split_of(["b", "a"], place="it")
    with pytest.raises(ValueError, match=r"only 0, 1, 2, 3, 4, 5, 6, 7 and 2 more; name one by --data\.val_split$"):
        val_split_of(list("0123456789"), place="it", evaluation=True)
    with pytest.raises(ValueError, match="only nothing"):
        train_split_of([], place="it")


def test_names_that_only_begin_alike_are_others():
    assert find_split(["trainset", "values", "evaluation"], TRAIN + VAL) is None
