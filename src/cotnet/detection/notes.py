"""Notes that a run prints about its network and its data, once over all processes."""

from collections.abc import Mapping
from typing import Any

from lightning.pytorch.utilities import rank_zero_only

from cotnet.detection.coco.annotations import CocoAnnotations
from cotnet.training.module import TrainingModule


@rank_zero_only
def print_note(text: str) -> None:
    """Print a note of one line."""
    print(f"note: {text}", flush=True)


def note_frozen_parts(module: TrainingModule, kwargs: Mapping[str, Any]) -> None:
    """Say what stays random in a run that starts from random weights; to be called when the run starts.

    Args:
        module: Knows whether it starts from weights or goes on from a checkpoint.
        kwargs: The network's arguments, ``frozen`` and ``frozen_norm`` among them.
    """
    fields = [f"--model.{name} {value}" for name in ("frozen", "frozen_norm") if (value := kwargs.get(name))]
    if fields and module.init_from is None and module.trainer.ckpt_path is None:
        print_note(
            f"{' '.join(fields)} keeps parts of the body at their random weights, since model.init_from is not set; "
            "train everything with --model.frozen 0, or start from a classifier's weights"
        )


def note_crowded_images(annotations: CocoAnnotations, limit: int) -> None:
    """Say that images have more objects than a detector finds.

    Args:
        annotations: The objects of each image.
        limit: The most detections in an image.
    """
    counts = [sum(not one["iscrowd"] for one in objects) for objects in annotations.objects.values()]
    above = sum(count > limit for count in counts)
    if above:
        print_note(
            f"{annotations.source}: {above} of {len(counts)} images have more than {limit} objects, up to "
            f"{max(counts)}, and the detector finds {limit} at most; raise it with "
            "--model.kwargs.box_detections_per_img. COCO's average precision counts the surest 100 of an image"
        )
