"""`cotnet validate`, `predict` and `export` with the weights of a detector."""

import json
import os
from argparse import Namespace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotnet.cli.found_report import FoundReport
from cotnet.cli.output import check_folder, check_targets, image_names, is_rank_zero, open_output, percent, plain

if TYPE_CHECKING:
    from cotnet.detection.coco.module import CocoData
    from cotnet.detection.evaluate import Evaluation
    from cotnet.detection.predict import Found
    from cotnet.files.weights import WeightsCard

BATCH_SIZE = 4


def validate(args: Namespace) -> None:
    """Print average precision, and draw it where asked to.

    Raises:
        ValueError: the weights or the data are wrong.
    """
    from cotnet.detection.coco.source import open_source
    from cotnet.detection.evaluate import evaluate
    from cotnet.detection.load import load_detector

    if args.plots:
        check_folder("plots", args.plots)
    network, card = load_detector(Path(args.weights), fused=not args.no_fuse)
    data = open_source(
        card,
        args.data,
        annotations=args.annotations,
        images=args.images_folder,
        batch_size=args.batch_size or BATCH_SIZE,
        num_workers=args.num_workers,
    )
    has_masks: Any = network.roi_heads
    scores = evaluate(network, data, masks=data.masks and has_masks.has_mask())
    text = (_json if args.format == "json" else _table)(scores, card.class_names)
    if not is_rank_zero():
        return
    with open_output(args.output) as file:
        file.write(text)
    if args.plots:
        _draw_scores(scores, data, card, Path(args.plots))


def predict(args: Namespace, paths: list[str]) -> None:
    """Print what is found, as a table, CSV, or one COCO file, and draw it where asked to.

    Raises:
        ValueError: an option or the weights are wrong.
        UnfinishedError: some images could not be read; they have been named.
    """
    from cotnet.detection.load import load_detector
    from cotnet.detection.predict import detect, draw

    threshold = 0.5 if args.threshold is None else args.threshold
    if not 0 <= threshold <= 1:
        raise ValueError(f"--threshold must be from 0 to 1, got {threshold}")
    names = image_names(paths)
    if args.draw:
        check_folder("draw", args.draw, inputs=paths, names=names)
    network, card = load_detector(Path(args.weights), fused=not args.no_fuse)
    columns = ["score", "x", "y", "width", "height"]
    name = iter(names)

    def write(image: "Found") -> None:
        report.write(image)
        path = Path(args.draw or "") / next(name)
        if args.draw and image.error is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            draw(image, card).save(path)

    with (
        open_output(args.output if is_rank_zero() else os.devnull) as file,
        FoundReport(args.format, file, card, columns=columns, head=_head, cells=_cells, line=_line) as report,
    ):
        batch_size = args.batch_size or BATCH_SIZE
        detect(network, card, paths, write, threshold=threshold, batch_size=batch_size, num_workers=args.num_workers)
    report.check()


def export(args: Namespace, forms: list[str], stem: Path) -> None:
    """Write a detector as ONNX for images of one size, and say how far its detections are from the detector's.

    Its backbone is written before, as a file of its own, for any size.

    Raises:
        ValueError: another format, no image to compare on, or a backbone that answers differently.
        RuntimeError: onnxruntime finds something else.
        OSError: a file cannot be read or written.
    """
    from torchvision.transforms.functional import to_tensor

    from cotnet.detection.export import export_backbone, export_detector
    from cotnet.detection.load import load_detector
    from cotnet.prediction.inputs import InputFiles, read_input

    if forms != ["onnx"]:
        raise ValueError(f"a detector exports to onnx alone, not to {', '.join(forms)}; see docs/detection.md")
    if args.images is None:
        raise ValueError("name an image of the size to export for, with objects in it: --images FILE")
    target, maps = (stem.with_name(f"{stem.name}{end}.onnx") for end in ("", ".backbone"))
    check_targets([maps], overwrite=args.overwrite)
    network, card = load_detector(Path(args.weights))
    path = next(iter(InputFiles(args.images)))
    example = read_input(path, to_tensor)
    if isinstance(example, str):
        raise ValueError(f"cannot read the image {path}: {example}; name another")
    size = -(-card.preprocessing["input_size"][1] // 32) * 32
    error = export_backbone(network, maps, size=size)
    print("onnx: images [batch, 3, height, width], normalised, to the pyramid's maps p2 to p6")
    print(f"  largest error of a map, relative to its largest value  {error:.1e}")
    print(_sized(maps), flush=True)
    description = {
        "model": card.model,
        "task": card.task,
        "class_names": card.class_names,
        "category_ids": card.data["category_ids"],
        "input": {"name": "image", "shape": list(example.shape), "dtype": "float32", "range": [0, 1], "order": "RGB"},
    }
    same = export_detector(network, target, example=example, description=description)
    description["parity"] = vars(same)
    target.with_name(f"{target.name}.json").write_text(json.dumps(description, indent=2) + "\n")
    print(f"onnx: image [3, {example.shape[1]}, {example.shape[2]}] to boxes, labels, scores of what is found")
    print(f"  the same {same.detections} objects in {path} and two mirrored copies")
    print(f"  boxes within {same.boxes:.1e} pixels, scores within {same.scores:.1e}, masks within {same.masks:.1e}")
    print(_sized(target))


def _sized(path: Path) -> str:
    return f"{path}  {path.stat().st_size / 2**20:.1f} MiB"


def _head(image: "Found") -> str:
    return f"{len(image.results)} found"


def _cells(image: "Found", one: dict[str, Any]) -> list[str]:
    return [f"{one['score']:.4f}", *(f"{edge:.1f}" for edge in one["bbox"])]


def _line(image: "Found", one: dict[str, Any], name: str) -> str:
    x, y, w, h = one["bbox"]
    return f"{one['score']:6.1%} {name}  {w:.0f} x {h:.0f} at {x:.0f}, {y:.0f}"


def _table(scores: "Evaluation", names: list[str]) -> str:
    width = max(map(len, names))
    lines = []
    for kind, one in scores.precision.items():
        lines += [f"{'':{width}}  {kind + ' AP':>8}    AP50"]
        for name, ap, ap50 in zip(names, one.per_class, one.per_class50, strict=True):
            lines.append(f"{name:{width}}  {percent(ap):>8}  {percent(ap50):>6}")
        lines += [
            "",
            f"{kind} AP {percent(one.ap)}  AP50 {percent(one.ap50)}  AP75 {percent(one.ap75)}  "
            f"small {percent(one.small)}  medium {percent(one.medium)}  large {percent(one.large)}  "
            f"recall {percent(one.recall)}",
            "",
        ]
    lines.append(f"{scores.images} images  {scores.images_per_s:.1f} images/s")
    return "\n".join(lines) + "\n"


def _json(scores: "Evaluation", names: list[str]) -> str:
    content: dict[str, Any] = {"images": scores.images, "images_per_s": scores.images_per_s}
    for kind, one in scores.precision.items():
        entry: dict[str, Any] = {key: plain(value) for key, value in vars(one).items() if isinstance(value, float)}
        for key in ("per_class", "per_class50"):
            entry[key] = {name: plain(value) for name, value in zip(names, getattr(one, key), strict=True)}
        content[kind] = entry
    return json.dumps(content, indent=2) + "\n"


def _draw_scores(scores: "Evaluation", data: "CocoData", card: "WeightsCard", folder: Path) -> None:
    from cotnet.detection.figures import draw_report

    folder.mkdir(parents=True, exist_ok=True)
    assert data.val_set is not None
    by_image: dict[int, list[dict[str, Any]]] = {image["id"]: [] for image in data.val_set.annotations.images}
    for one in scores.results:
        by_image[one["image_id"]].append(one)
    draw_report(scores.precision, data.val_set, by_image, folder)
