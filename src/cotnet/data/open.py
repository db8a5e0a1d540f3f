"""From a path, or from what a run has recorded, to the data module that serves it."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import cotnet.data as modules
from cotnet.data.folder import ImageFolder
from cotnet.data.hugging_face import HuggingFace, is_saved_set
from cotnet.data.module import ImageDataModule
from cotnet.data.npz import NpzPack
from cotnet.data.shards.index import INDEX
from cotnet.data.shards.module import WebShards
from cotnet.files.listing import is_hidden


def open_data(path: str, *, class_names: Collection[str] = (), **options: Any) -> ImageDataModule:
    """The data module that serves a path.

    Args:
        path: A folder of images with splits or of class folders alone, an ``.npz`` pack, a Hugging Face data set on
            disk or as ``hub:NAME``, or a folder or URL of tar shards.
        class_names: Classes that are known; a folder with such a name is a class even if it is called ``test``.
        options: See `ImageDataModule`.

    Raises:
        ValueError: There is nothing at the path, or an option is wrong.
    """
    if path.startswith("hub:"):
        return HuggingFace(path.removeprefix("hub:"), **options)
    folder = Path(path)
    if "://" in path or (folder / INDEX).is_file():
        return WebShards(path, **options)
    if folder.is_file():
        return NpzPack(path, **options)
    if not folder.is_dir():
        raise ValueError(f"data {path!r} does not exist; name a folder of images, an .npz pack, or hub:NAME")
    if is_saved_set(folder):
        return HuggingFace(path, **options)
    folders = [child.name for child in folder.iterdir() if child.is_dir() and not is_hidden(child.name)]
    if folders and set(folders) <= set(class_names):  # classes, even if one is called test
        return ImageFolder(path, val_split=".", **options)
    data = ImageFolder(path, **options)
    if not data.has_splits and any(folder.rglob("*.parquet")):
        return HuggingFace(path, **options)
    return data


def open_recorded(record: Mapping[str, Any], **options: Any) -> ImageDataModule:
    """The data module that a run has recorded, where its images are on this machine.

    A record comes from a weights file, which must not decide to download or to run anything.

    Args:
        record: ``class_path`` and ``init_args`` of the data module.
        options: See `ImageDataModule`.

    Raises:
        ValueError: The record does not name images on this machine.
    """
    name = str(record.get("class_path", "")).removeprefix("cotnet.data.")
    source = record.get("init_args", {})
    if name not in modules.__all__ or name == "ImageDataModule" or not isinstance(source, dict):
        raise ValueError("the weights do not record the images that they were validated on")
    source = {key: value for key, value in source.items() if key != "download"}
    is_remote = any(":" in str(value) for value in source.values())
    if is_remote or (name == "HuggingFace" and not Path(str(source.get("path"))).exists()):
        raise ValueError("the weights record images that are not on this machine")
    try:
        return getattr(modules, name)(**source, **options)
    except TypeError as error:
        raise ValueError(f"the weights record their images in a way that does not fit {name}: {error}") from error
