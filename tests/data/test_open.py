"""From a path to the data module that serves it."""

import numpy as np
import pytest
from PIL import Image

from cotnet.data import BundledImages, HuggingFace, ImageFolder, NpzPack, WebShards
from cotnet.data.open import open_data, open_recorded


def with_images(folder, *names):
    for name in names:
        (folder / name).mkdir(parents=True)
        Image.fromarray(np.zeros((4, 4, 3), np.uint8)).save(folder / name / "0.png")
    return folder


def with_file(folder, name):
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda path: with_images(path, "train/ash", "val/ash"), ImageFolder),
        (lambda path: with_images(path, "test/ash", "test/birch"), ImageFolder),
        (lambda path: with_images(path, "ash", "birch"), ImageFolder),
        (lambda path: with_images(path, "train", "test"), ImageFolder),
        (lambda path: with_file(path, "index.json"), WebShards),
        (lambda path: with_file(path, "dataset_dict.json"), HuggingFace),
        (lambda path: with_file(path, "state.json"), HuggingFace),
        (lambda path: with_file(path, "data/train-00000.parquet"), HuggingFace),
        (lambda path: with_file(path, "train/00000.parquet"), HuggingFace),
        (lambda path: with_file(path, "pack.npz") / "pack.npz", NpzPack),
    ],
)
def test_every_kind_is_recognised(tmp_path, make, kind):
    assert type(open_data(str(make(tmp_path / "data")), batch_size=3)) is kind


@pytest.mark.parametrize(("path", "kind"), [("hub:name", HuggingFace), ("https://host/shards", WebShards)])
def test_what_is_elsewhere_is_named_by_its_scheme(path, kind):
    assert type(open_data(path)) is kind


def test_a_known_class_is_no_split(tmp_path):
    with_images(tmp_path, "test", "rest")
    (tmp_path / "test" / "deeper").mkdir()
    data = open_data(str(tmp_path), class_names=["rest", "test"])
    data.setup("validate")
    assert (data.class_names, len(data.val_set)) == (["rest", "test"], 2)


def test_a_missing_path_is_named():
    with pytest.raises(ValueError, match="data 'nowhere' does not exist; name a folder"):
        open_data("nowhere")


def test_a_record_is_opened_without_what_a_file_must_not_decide(tmp_path):
    record = {"class_path": "cotnet.data.BundledImages", "init_args": {"val_per_class": 3, "download": True}}
    data = open_recorded(record, size=16)
    assert isinstance(data, BundledImages)
    assert (data.val_per_class, data.size) == (3, 16)


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({}, "do not record the images"),
        ({"class_path": "os.system", "init_args": {"root": "x"}}, "do not record the images"),
        ({"class_path": "cotnet.data.ImageDataModule"}, "do not record the images"),
        ({"class_path": "cotnet.data.ImageFolder", "init_args": "x"}, "do not record the images"),
        ({"class_path": "cotnet.data.WebShards", "init_args": {"root": "pipe:id"}}, "are not on this machine"),
        ({"class_path": "cotnet.data.WebShards", "init_args": {"root": "x", "url": "s3://{name}"}}, "not on this mach"),
        ({"class_path": "cotnet.data.HuggingFace", "init_args": {"path": "someone/set"}}, "are not on this machine"),
        ({"class_path": "cotnet.data.NpzPack", "init_args": {"file": "x"}}, "in a way that does not fit NpzPack"),
    ],
)
def test_a_record_that_names_no_images_here_is_refused(record, message):
    with pytest.raises(ValueError, match=message):
        open_recorded(record)
