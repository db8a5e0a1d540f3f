"""From a path, or from what a run has recorded, to the data module that serves it."""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import cotnet.data as modules
from cotnet.data.class_folders import ClassFolders
from cotnet.data.folder import ImageFolder
from cotnet.data.hugging_face import HuggingFace
from cotnet.data.module import ImageDataModule
from cotnet.data.npz_pack import NpzPack
from cotnet.data.shards.module import WebShards


def open_data(path: str, *, class_names: Collection[str] = (), **options: Any) -> ImageDataModule:
    """The data module that serves a path.

    Args:
        path: A folder of images, an ``.npz`` pack, a Hugging Face data set on disk, or a folder or URL of tar shards.
        class_names: Classes that are known; a folder with such a name is a class even if it is called ``test``.
        options: See `ImageDataModule`.

    Raises:
        ValueError: There is nothing at the path, or an option is wrong.
    """
    folder = Path(path)
    if "://" in path or (folder / "index.json").is_file():
        return WebShards(path, **options)
    if folder.is_file():
        return NpzPack(path, **options)
    if not folder.is_dir():
        raise ValueError(f"data {path!r} does not exist; name a folder of images, an .npz pack, or hub:NAME")
    if (folder / "dataset_dict.json").is_file() or (folder / "state.json").is_file():
        return HuggingFace(path, **options)
    if any((folder / split).is_dir() for split in {"train", "val", "validation", "test"}.difference(class_names)):
        return ImageFolder(path, **options)
    return ClassFolders(path, augment="none", auto_augment=None, **options)


def open_recorded(record: Mapping[str, Any], **options: Any) -> ImageDataModule:
    """The data module that a run has recorded, where its images are on this machine.

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
