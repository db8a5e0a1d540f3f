"""Calibration images from a folder."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from cotnet.files.image import is_image_name, open_image

_IMAGES = 512


def images_of(folder: Path, model: nn.Module, preprocess: Callable[[Any], Tensor] | None) -> Iterator[Tensor]:
    """Images of a folder and of those in it, evenly spread, as the network takes them.

    Args:
        folder: The folder.
        model: Of which the preprocessing is, where none is given.
        preprocess: From a PIL image to a tensor [C, H, W].

    Raises:
        ValueError: It is no folder, or has no images.
    """
    if not folder.is_dir():
        raise ValueError(f"calibration folder {str(folder)!r} does not exist")
    files = sorted(path for path in folder.rglob("*") if is_image_name(path.name) and path.is_file())
    if not files:
        raise ValueError(f"calibration folder {str(folder)!r} has no images")
    if preprocess is None:
        from timm.data import create_transform, resolve_model_data_config  # needs torchvision

        preprocess = create_transform(**resolve_model_data_config(model), is_training=False)
    step, to_input = max(1, len(files) // _IMAGES), preprocess
    return (to_input(open_image(path).convert("RGB")) for path in files[::step])
