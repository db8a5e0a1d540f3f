"""Images to compare an exported network with the original on."""

from collections.abc import Sequence

from cotnet.data.bundled import installed_images
from cotnet.prediction.inputs import InputFiles

_MAX_IMAGES = 256


def comparison_images(words: Sequence[str] | None) -> tuple[list[str], str]:
    """Paths of images, and what a report calls them.

    Args:
        words: Files, folders, archives and globs, of which a sample is taken; None for what scikit-image has installed.
    """
    if words is None:
        found = [str(path) for path in installed_images()]
        return found, "images of scikit-image" if found else "images of noise; name real ones by --images"
    found = list(InputFiles(words))
    if len(found) <= _MAX_IMAGES:
        return found, "images"
    step = len(found) / _MAX_IMAGES
    return [found[int(i * step)] for i in range(_MAX_IMAGES)], f"images, a sample of {len(found)}"
