"""What is done with a trained network of any task: the functions that `cotnet` exports and the commands call.

Nothing heavy is imported before one of them is called.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

    from cotnet.exporting.export import ExportReport
    from cotnet.models.weights_file import WeightsFile
    from cotnet.prediction.model import TrainedModel
    from cotnet.training import RunResult


@dataclass(frozen=True)
class Task:
    """Where the functions for the networks of one task are.

    Its package has ``predict.load_model``, ``evaluate.validate``, ``export.export`` and ``export.target_files``.

    Attributes:
        noun: What such a network is called.
        package: The package.
        options: Names of the options that not every task has a use for.
    """

    noun: str
    package: str
    options: frozenset[str]

    def function(self, module: str, name: str) -> Callable[..., Any]:
        """A function of the package, imported when it is needed."""
        return getattr(import_module(f"{self.package}.{module}"), name)


_COCO_OPTIONS = {"annotations", "images_folder", "plots", "draw"}
TASKS = {
    "classification": Task(
        "classifier", "cotnet.classification", frozenset({"topk", "model", "ema", "class_names", "size", "tolerance"})
    ),
    "detection": Task(
        "detector", "cotnet.detection", frozenset({"threshold", "min_score", "box_detections_per_img", *_COCO_OPTIONS})
    ),
    "segmentation": Task(
        "segmenter", "cotnet.segmentation", frozenset({"size", "tolerance", "masks", "keep_labels", *_COCO_OPTIONS})
    ),
}


def find_task(file: "WeightsFile", options: Iterable[str] = (), *, prefix: str = "") -> Task:
    """The task of a weights file; options that it has no use for are refused.

    Args:
        file: The file.
        options: Names of options that have been given.
        prefix: What the user writes before these.

    Raises:
        ValueError: An option is for networks of other tasks, or the task is unknown.
    """
    name = "classification" if file.card is None else file.card.task
    if name not in TASKS:
        raise ValueError(f"{file.path} is a network for {name}; the tasks are {', '.join(TASKS)}")
    for option in options:
        nouns = [f"{task.noun}s" for task in TASKS.values() if option in task.options]
        if nouns and option not in TASKS[name].options:
            spelt = prefix + (option.replace("_", "-") if prefix else option)
            raise ValueError(f"{spelt} is for {' and '.join(nouns)}, and {file.path} is a {TASKS[name].noun}")
    return TASKS[name]


def load(
    weights: "str | Path | WeightsFile",
    *,
    fused: bool = True,
    device: "str | torch.device | None" = None,
    **options: Any,
) -> "TrainedModel[Any]":
    """Load a trained network, ready to be called on images.

    Args:
        weights: ``weights.safetensors`` or a ``.ckpt`` of a training run, an exported ``.onnx`` or ``.xml``, or a
            released ``.pth.tar``.
        fused: Fuse it for speed; the answers are the same but for rounding.
        device: Default an accelerator where there is one, else the CPU.
        options: Of a classifier's weights: ``model``, the network's name where the file does not say it; ``ema``, to
            take the averaged weights of a checkpoint that has both; ``class_names``, a file with one a line or a list.
            Of a detector's: ``box_detections_per_img``, the largest number of objects in an image, and ``min_score``,
            where objects of lower scores are wanted than it keeps.

    Returns:
        A `cotnet.classification.predict.ClassificationModel`, `cotnet.detection.predict.DetectionModel` or
        `cotnet.segmentation.predict.SegmentationModel`. Called with images (paths, or images of Pillow, NumPy or torch;
        one or several) it gives names and probabilities, objects with boxes and masks, or each pixel's class.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is damaged or foreign, or an option does not fit.

    Example:
        >>> model = cotnet.load("runs/finetune/1/weights.safetensors")
        >>> answer = model("photo.jpg")
        >>> print(answer.class_names[0], answer.probabilities[0])
        cat 0.97
    """
    from cotnet.models.weights_file import open_weights

    file = open_weights(weights, ema=options.get("ema", False))
    task = find_task(file, options)
    return task.function("predict", "load_model")(file, fused=fused, device=device, **options)


def predict(
    weights: "str | Path | TrainedModel[Any]",
    images: Any,
    *,
    batch_size: int | None = None,
    num_workers: int | None = None,
    device: "str | torch.device | None" = None,
    **options: Any,
) -> Iterator[Any]:
    """Results for any number of images, one by one in order, while the next ones are still decoded.

    Memory does not grow with the number of images. An image that cannot be read gives a result whose ``error`` says
    why. Of processes that torchrun started rank zero gets all results and the others none, but they have to iterate.

    Args:
        weights: A weights file, or a model of `cotnet.load`.
        images: A path, folder, tar archive or glob; or an iterable of paths or of images of Pillow, NumPy or torch.
        batch_size: Images at a time; default 32 for a classifier, else 4.
        num_workers: Processes that decode images from files; default one for each available processor.
        device: As of `load`.
        options: ``topk`` of a classifier, ``threshold`` of a detector, ``keep_labels`` of a segmenter.

    Yields:
        A `cotnet.classification.predict.Prediction`, `cotnet.detection.predict.Detections` or
        `cotnet.segmentation.predict.SegmentedImage` for each image.

    Example:
        >>> for result in cotnet.predict("weights.safetensors", "photos", topk=1):
        ...     print(result.image, result.error or result.class_names[0])
    """
    from cotnet.files.machine import available_cpus
    from cotnet.models.weights_file import open_weights
    from cotnet.prediction.inputs import InputFiles
    from cotnet.prediction.model import TrainedModel

    if isinstance(images, (str, Path)):
        images = InputFiles([str(images)])
    if isinstance(weights, TrainedModel):
        model = weights
    else:
        limits = {"min_score": options["threshold"]} if "threshold" in options else {}
        file = open_weights(weights)
        find_task(file, options)
        model = load(file, device=device, **limits)
    workers = available_cpus() if num_workers is None else num_workers
    return model.predict(images, batch_size=batch_size, num_workers=workers, **options)


def validate(
    weights: "str | Path | TrainedModel[Any]",
    data: str | Path | None = None,
    *,
    batch_size: int | None = None,
    num_workers: int | None = None,
    device: "str | torch.device | None" = None,
    **options: Any,
) -> Any:
    """Score a trained network on images whose classes or objects are known.

    Args:
        weights: A weights file, or a model of `cotnet.load`.
        data: Of a classifier a folder of images, an ``.npz`` pack, a Hugging Face data set, or tar shards; else a COCO
            set. Default the images that the weights were validated on in training.
        batch_size: Images at a time; default 64 for a classifier, else 4.
        num_workers: Processes that decode; default one for each available processor.
        device: As of `load`.
        options: Of detectors and segmenters: ``annotations`` and ``images_folder``, names in the set, and ``plots``, a
            folder to draw figures in.

    Returns:
        `cotnet.classification.evaluate.Scores`, `cotnet.detection.evaluate.Evaluation` or
        `cotnet.segmentation.evaluate.PixelEvaluation`; as text, each is a table.

    Raises:
        ValueError: The weights or the data cannot be used, or their classes differ.

    Example:
        >>> cotnet.validate("weights.safetensors", "photos").top1
        0.941
    """
    from cotnet.files.machine import available_cpus
    from cotnet.prediction.model import TrainedModel
    from cotnet.prediction.processes import ignore_stray_ranks

    ignore_stray_ranks()
    model = weights if isinstance(weights, TrainedModel) else load(weights, device=device)
    run = TASKS[model.card.task].function("evaluate", "validate")
    workers = available_cpus() if num_workers is None else num_workers
    return run(model, None if data is None else str(data), batch_size=batch_size, num_workers=workers, **options)


def export(
    weights: "str | Path | WeightsFile",
    format: str | Sequence[str] = "onnx",
    *,
    output: str | Path | None = None,
    overwrite: bool = False,
    images: Sequence[str] | None = None,
    tolerance: float | None = None,
    size: int | None = None,
    **options: Any,
) -> "list[ExportReport]":
    """Write a trained network for other runtimes, after its answers have been compared with the original's.

    Args:
        weights: As of `load`.
        format: ``"torch"``, ``"onnx"`` or ``"openvino"``, or several of them.
        output: Path of the files without ending, or a folder; default beside the weights.
        overwrite: Replace files that are there.
        images: Files, folders and globs to compare the answers on; of a detector the first one gives the size. Default
            those that scikit-image has installed.
        tolerance: Largest error of a logit, relative to the largest; default 1e-4.
        size: Side of the images in pixels; default as in training.
        options: ``model``, ``ema`` and ``class_names``, as of `load`.

    Returns:
        A report for each format; printed, it says how far the answers are apart.

    Raises:
        ValueError: The network cannot be exported, or the answers differ; then nothing is written.
        FileExistsError: There is such a file.

    Example:
        >>> [report] = cotnet.export("weights.safetensors", "onnx")
        >>> report.files[0].name
        'weights.onnx'
    """
    return list(
        iter_export(
            weights,
            [format] if isinstance(format, str) else format,
            output=output,
            overwrite=overwrite,
            images=images,
            tolerance=tolerance,
            size=size,
            **options,
        )
    )


def iter_export(
    weights: "str | Path | WeightsFile",
    formats: Sequence[str],
    *,
    output: str | Path | None = None,
    overwrite: bool = False,
    images: Sequence[str] | None = None,
    tolerance: float | None = None,
    size: int | None = None,
    prefix: str = "",
    **options: Any,
) -> "Iterator[ExportReport]":
    """`export`, giving each report as soon as it is there; ``prefix`` is what the user writes before an option."""
    from cotnet.exporting.formats import check_formats, check_targets, output_stem
    from cotnet.models.weights_file import open_weights

    forms = check_formats(formats)
    stem = output_stem(weights if isinstance(weights, (str, Path)) else weights.path, output, forms)
    file = open_weights(weights, ema=options.get("ema", False))
    given = {"tolerance": tolerance, "size": size, **options}
    task = find_task(file, [name for name, value in given.items() if value], prefix=prefix)
    check_targets(task.function("export", "target_files")(stem, forms), overwrite=overwrite)
    model = load(file, fused=False, device="cpu", **{key: value for key, value in options.items() if value})
    yield from task.function("export", "export")(model, stem, forms, images=images, tolerance=tolerance, size=size)


def train(
    recipe: str | Path = "embedded",
    overrides: "Mapping[str, Any] | Sequence[str] | None" = None,
    *,
    runs: str | Path | None = None,
) -> "RunResult":
    """Train a network by a recipe.

    Args:
        recipe: Name of a shipped recipe, as `cotnet train --help` lists them, or a path of a YAML file.
        overrides: Fields of the recipe and their values, or the words of the command line.
        runs: Folder to make run folders in; default ``runs``.

    Returns:
        The run's folder, its best score, and its weights, which `load` takes.

    Raises:
        ValueError: The recipe or a field is wrong, or the run cannot go on.

    Example:
        >>> run = cotnet.train("finetune", {"data.root": "photos", "trainer.max_epochs": 10})
        >>> model = cotnet.load(run.weights)
    """
    from cotnet.training.run import run_recipe

    return run_recipe(recipe, overrides, runs=runs)
