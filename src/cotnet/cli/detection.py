"""`cotnet validate` and `cotnet predict` with a detector's weights."""

import csv
import json
import os
import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from cotnet.cli.output import open_output

if TYPE_CHECKING:
    from cotnet.detection.data import CocoData
    from cotnet.detection.evaluate import Evaluation
    from cotnet.detection.predict import Found
    from cotnet.models.weights_file import WeightsCard

BATCH_SIZE = 4
# Options that only the one kind of weights has a use for.
_DETECTORS = ("annotations", "pictures_folder", "plots", "threshold", "draw")
_CLASSIFIERS = ("topk", "model", "ema")


def add_validation_arguments(parser: ArgumentParser) -> None:
    """The options of `validate` that are for detectors."""
    group = parser.add_argument_group("detectors")
    group.add_argument("--annotations", metavar="NAME", help="COCO file in DATA; default val.json")
    group.add_argument("--pictures-folder", metavar="NAME", help="folder of pictures in DATA; default images")
    group.add_argument("--plots", metavar="FOLDER", help="draw precision over recall and the confused classes there")


def add_prediction_arguments(parser: ArgumentParser) -> None:
    """The options of `predict` that are for detectors."""
    group = parser.add_argument_group("detectors")
    group.add_argument("--threshold", type=float, metavar="P", help="least score of a detection; default 0.5")
    group.add_argument("--draw", metavar="FOLDER", help="write the pictures with boxes and masks there")


def is_detector(weights: Path, chosen: Namespace) -> bool:
    """Whether a file holds a detector; options that do not fit its kind are refused.

    Raises:
        ValueError: an option is for the other kind of weights.
    """
    from cotnet.models.weights_file import read_card

    card = read_card(weights) if weights.is_file() else None
    found = card is not None and card.task == "detection"
    for name in _CLASSIFIERS if found else _DETECTORS:
        if getattr(chosen, name, None) not in (None, False):
            kind, other = ("classifiers", "a detector") if found else ("detectors", "none")
            raise ValueError(f"--{name.replace('_', '-')} is for {kind}, and {weights} is {other}")
    return found


def validate(chosen: Namespace) -> None:
    """Print average precision, and draw it where asked to.

    Raises:
        ValueError: the weights or the data are wrong.
    """
    from cotnet.detection.evaluate import evaluate
    from cotnet.detection.weights import load_detector

    if chosen.plots:
        check_folder("plots", chosen.plots)
    network, card = load_detector(Path(chosen.weights), fused=not chosen.no_fuse)
    data = _data(chosen, card)
    data.setup("validate")
    if data.class_names != card.class_names:
        raise ValueError(
            f"the weights find {', '.join(card.class_names)}, the data has {', '.join(data.class_names)}: "
            "the classes must be the same, in the order of their ids"
        )
    data.check_pictures()
    has_masks: Any = network.roi_heads
    scores = evaluate(network, data, masks=data.masks and has_masks.has_mask())
    text = (_json if chosen.format == "json" else _table)(scores, card.class_names)
    if not _leads():
        return
    with open_output(chosen.output) as file:
        file.write(text)
    if chosen.plots:
        _draw_scores(scores, data, card, Path(chosen.plots))


def predict(chosen: Namespace, paths: list[str]) -> None:
    """Print what is found, as a table, CSV, or one COCO file, and draw it where asked to.

    Raises:
        ValueError: an option or the weights are wrong.
        UnfinishedError: some pictures could not be read; they have been named.
    """
    from cotnet.cli.main import UnfinishedError
    from cotnet.detection.predict import detect, draw, to_coco
    from cotnet.detection.weights import load_detector

    if not _leads():
        return
    threshold = 0.5 if chosen.threshold is None else chosen.threshold
    if not 0 <= threshold <= 1:
        raise ValueError(f"--threshold must be from 0 to 1, got {threshold}")
    names = _names(paths)
    if chosen.draw:
        check_folder("draw", chosen.draw, inputs=paths, names=names)
    network, card = load_detector(Path(chosen.weights), fused=not chosen.no_fuse)
    category = dict(zip(card.data["category_ids"], card.class_names, strict=True))
    everything: list[Found] = []
    unreadable = 0
    with open_output(chosen.output) as file:
        if chosen.format == "csv":
            csv.writer(file, lineterminator="\n").writerow(["path", "class", "score", "x", "y", "width", "height"])
        found = detect(
            network,
            card,
            paths,
            threshold=threshold,
            batch_size=chosen.batch_size or BATCH_SIZE,
            workers=chosen.workers,
        )
        for picture, name in zip(found, names, strict=True):
            if picture.error is not None:
                unreadable += 1
                reason = f"cannot read the picture {picture.path}: {picture.error}; repair or remove it"
                print(f"cotnet: error: {reason}", file=sys.stderr)
            elif chosen.draw:
                folder = Path(chosen.draw)
                folder.mkdir(parents=True, exist_ok=True)
                draw(picture, card).save(folder / name)
            if chosen.format == "json":
                everything.append(picture)
            elif picture.error is None:
                _write(picture, category, file, as_csv=chosen.format == "csv")
        if chosen.format == "json":
            json.dump(to_coco(everything, card), file)
            file.write("\n")
    if unreadable > 1:
        print(f"cotnet: {unreadable} of {len(paths)} pictures could not be read", file=sys.stderr)
    if unreadable:
        raise UnfinishedError


def export(chosen: Namespace, forms: list[str], stem: Path) -> None:
    """Write a detector as ONNX for pictures of one size, and say how far its detections are from the detector's.

    Raises:
        ValueError: another format, an option that has no meaning for a detector, or no picture to compare on.
        RuntimeError: onnxruntime finds something else.
    """
    from torchvision.transforms.functional import to_tensor

    from cotnet.detection.export import export_detector
    from cotnet.detection.weights import load_detector
    from cotnet.inference.pictures import FoundPictures

    if forms != ["onnx"]:
        raise ValueError(f"a detector exports to onnx alone, not to {', '.join(forms)}; see docs/detection.md")
    if chosen.size is not None:
        raise ValueError("--size is for classifiers: a detector is exported for pictures of the size of --pictures")
    if chosen.pictures is None:
        raise ValueError("name a picture of the size to export for, with objects in it: --pictures FILE")
    from PIL import Image

    network, _ = load_detector(Path(chosen.weights))
    path = next(iter(FoundPictures(chosen.pictures)))
    with Image.open(path) as picture:
        example = to_tensor(picture.convert("RGB"))
    target = stem.with_name(stem.name + ".onnx")
    same = export_detector(network, target, example=example)
    print(f"onnx: picture [3, {example.shape[1]}, {example.shape[2]}] to boxes, labels, scores of what is found")
    print(
        f"  the same {same.detections} objects in {path} and two mirrored copies, boxes within {same.boxes:.1e} pixels,"
    )
    print(f"  scores within {same.scores:.1e}, masks within {same.masks:.1e}")
    print(f"{target}  {target.stat().st_size / 2**20:.1f} MiB")


def check_folder(option: str, folder: str, *, inputs: list[str] | None = None, names: list[str] | None = None) -> None:
    """Make sure, before any work, that pictures can be written into a folder and destroy no input.

    Raises:
        ValueError: a picture would take the place of an input.
        OSError: it is a file, or cannot be made.
    """
    path = Path(folder)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"--{option} {folder} is a file; name a folder")
    home = path
    while not home.exists():
        home = home.absolute().parent
    if not os.access(home, os.W_OK):
        raise PermissionError(f"--{option} {folder} cannot be written: permission denied")
    taken = {os.path.realpath(one) for one in inputs or []}
    for name in names or []:
        if os.path.realpath(path / name) in taken:
            raise ValueError(f"--{option} {folder} would replace the input {path / name}; name another folder")


def _leads() -> bool:
    """Whether this is the process that writes, of those that torchrun has started."""
    return int(os.environ.get("RANK", "0")) == 0


def _names(paths: list[str]) -> list[str]:
    """A file name for each drawn picture, each another one."""
    names: list[str] = []
    taken: set[str] = set()
    for path in paths:
        stem, number = Path(path).stem, 1
        name = f"{stem}.png"
        while name in taken:
            number += 1
            name = f"{stem}_{number}.png"
        taken.add(name)
        names.append(name)
    return names


def _data(chosen: Namespace, card: "WeightsCard") -> "CocoData":
    from cotnet.detection import CocoData

    recorded = card.data.get("init_args", {})
    recorded = recorded if isinstance(recorded, dict) else {}
    source = {key: recorded[key] for key in ("path", "val", "pictures", "masks") if key in recorded}
    if chosen.data is not None:
        source = {"path": chosen.data, "masks": source.get("masks", False)}
    if "path" not in source:
        raise ValueError(
            "the weights do not record the pictures that they were validated on; "
            "name them: cotnet validate WEIGHTS DATA"
        )
    given = {"val": chosen.annotations, "pictures": chosen.pictures_folder}
    source |= {key: value for key, value in given.items() if value is not None}
    return CocoData(**source, batch_size=chosen.batch_size or BATCH_SIZE, workers=chosen.workers)


def _write(picture: "Found", category: dict[int, str], file: TextIO, *, as_csv: bool) -> None:
    if as_csv:
        rows = csv.writer(file, lineterminator="\n")
        for one in picture.results:
            box = [f"{edge:.1f}" for edge in one["bbox"]]
            rows.writerow([picture.path, category[one["category_id"]], f"{one['score']:.4f}", *box])
        return
    file.write(f"{picture.path}  {len(picture.results)} found\n")
    width = max(map(len, category.values()))
    for one in picture.results:
        x, y, w, h = one["bbox"]
        where = f"{w:.0f} x {h:.0f} at {x:.0f}, {y:.0f}"
        file.write(f"  {one['score']:6.1%} {category[one['category_id']]:{width}}  {where}\n")


def _table(scores: "Evaluation", names: list[str]) -> str:
    width = max(map(len, names))
    lines = []
    for kind, one in scores.precision.items():
        lines += [f"{'':{width}}  {kind + ' AP':>8}    AP50"]
        for name, ap, ap50 in zip(names, one.per_class, one.per_class50, strict=True):
            lines.append(f"{name:{width}}  {_percent(ap):>8}  {_percent(ap50):>6}")
        lines += [
            "",
            f"{kind} AP {_percent(one.ap)}  AP50 {_percent(one.ap50)}  AP75 {_percent(one.ap75)}  "
            f"small {_percent(one.small)}  medium {_percent(one.medium)}  large {_percent(one.large)}  "
            f"recall {_percent(one.recall)}",
            "",
        ]
    lines.append(f"{scores.images} pictures  {scores.images_per_s:.1f} images/s")
    return "\n".join(lines) + "\n"


def _json(scores: "Evaluation", names: list[str]) -> str:
    content: dict[str, Any] = {"images": scores.images, "images_per_s": scores.images_per_s}
    for kind, one in scores.precision.items():
        plain: dict[str, Any] = {key: _plain(value) for key, value in vars(one).items() if isinstance(value, float)}
        for key in ("per_class", "per_class50"):
            plain[key] = {name: _plain(value) for name, value in zip(names, getattr(one, key), strict=True)}
        content[kind] = plain
    return json.dumps(content, indent=2) + "\n"


def _draw_scores(scores: "Evaluation", data: "CocoData", card: "WeightsCard", folder: Path) -> None:
    from cotnet.detection.report import draw_report

    folder.mkdir(parents=True, exist_ok=True)
    assert data.val_set is not None
    by_picture: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in data.val_set.annotations.images}
    for one in scores.results:
        by_picture[one["image_id"]].append(one)
    draw_report(scores.precision, data.val_set, by_picture, folder)


def _percent(value: float) -> str:
    return "--" if value != value else f"{value:.1%}"


def _plain(value: float) -> float | None:
    return None if value != value else value
