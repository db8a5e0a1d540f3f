"""The COCO set that `cotnet validate` compares a detector or a segmenter on."""

from argparse import Namespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cotnet.detection.coco.module import CocoData
    from cotnet.files.weights import WeightsCard


def coco_set(args: Namespace, card: "WeightsCard", *, batch_size: int) -> "CocoData":
    """The set that is named, else the one that the weights record, checked and set up.

    Raises:
        ValueError: there is none, it is of no use, or its classes are not the weights'.
    """
    from cotnet.detection.coco.module import CocoData

    recorded = card.data.get("init_args", {})
    recorded = recorded if isinstance(recorded, dict) else {}
    source = {key: recorded[key] for key in ("path", "val", "images", "masks") if key in recorded}
    if args.data is not None:
        source = {"path": args.data, "masks": source.get("masks", False)}
    if "path" not in source:
        raise ValueError(
            "the weights do not record the images that they were validated on; name them: cotnet validate WEIGHTS DATA"
        )
    given = {"val": args.annotations, "images": args.images_folder}
    source |= {key: value for key, value in given.items() if value is not None}
    data = CocoData(**source, batch_size=batch_size, num_workers=args.num_workers)
    data.setup("validate")
    if data.class_names != card.class_names:
        raise ValueError(
            f"the weights find {', '.join(card.class_names)}, the data has {', '.join(data.class_names)}: "
            "the classes must be the same, in the order of their ids"
        )
    data.check_images()
    return data
