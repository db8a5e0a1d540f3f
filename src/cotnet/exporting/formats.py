"""The formats that a network is exported to: their endings, their files, the packages that they need."""

import difflib
import importlib.util
import os
from collections.abc import Sequence
from pathlib import Path

ENDINGS = {"torch": ".pt2", "onnx": ".onnx", "openvino": ".xml"}
_NEEDS = {"torch": (), "onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino")}


def check_formats(words: Sequence[str]) -> list[str]:
    """The formats that words name, with commas or without, each once.

    Raises:
        ValueError: One is unknown or lacks a package, or none is named.
    """
    names = [name for word in words for name in word.split(",") if name]
    for name in names:
        if name not in ENDINGS:
            near = difflib.get_close_matches(name, ENDINGS, n=1)
            hint = f"did you mean {near[0]}?" if near else f"the formats are {', '.join(ENDINGS)}"
            raise ValueError(f"unknown format {name!r}; {hint}")
        if missing := missing_packages(name):
            raise ValueError(missing)
    if not names:
        raise ValueError(f"--format names none of {', '.join(ENDINGS)}")
    return list(dict.fromkeys(names))


def missing_packages(form: str) -> str | None:
    """What a format lacks and how to install it, or None."""
    missing = [name for name in _NEEDS[form] if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return f"format {form} needs {', '.join(missing)}; install it with: pip install 'cotnet[{form}]'"


def export_files(form: str, stem: Path) -> list[Path]:
    """The files of a network in a format: the one to open first, the JSON with its description last."""
    first = stem.with_name(stem.name + ENDINGS[form])
    weights = [stem.with_name(f"{stem.name}.bin")] if form == "openvino" else []
    return [first, *weights, first.with_name(f"{first.name}.json")]


def output_stem(weights: str | Path, output: str | Path | None, forms: Sequence[str]) -> Path:
    """The path of exported files without their ending.

    Args:
        weights: Path of the weights, which gives the name where none is given.
        output: A folder, or a path with or without the ending of the one format; None for beside the weights.
        forms: The formats.

    Raises:
        FileNotFoundError: It is a folder that does not exist.
        ValueError: It has the ending of another format.
    """
    name = Path(weights).name
    for ending in (".safetensors", ".ckpt", ".pth.tar", ".pth"):
        name = name.removesuffix(ending)
    if output is None:
        return Path(weights).with_name(name)
    path = Path(output)
    if path.is_dir():
        return path / name
    if str(output).endswith(os.sep):
        raise FileNotFoundError(f"--output {output}: this folder does not exist; make it first")
    if path.suffix in ENDINGS.values():
        if any(ENDINGS[form] != path.suffix for form in forms):
            raise ValueError(f"--output {output} ends as another format than {', '.join(forms)}; leave the ending out")
        return path.with_suffix("")
    return path


def check_targets(targets: Sequence[Path], *, overwrite: bool) -> None:
    """Make sure, before any work, that files in one folder can be written.

    Raises:
        OSError: The folder is missing or not writable, or a file exists and is not to be replaced.
    """
    folder = targets[0].parent
    if not folder.is_dir():
        raise FileNotFoundError(f"--output: folder {folder} does not exist; make it first")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"--output: folder {folder} cannot be written: permission denied")
    for path in targets:
        if path.is_dir():
            raise IsADirectoryError(f"{path} is a folder; name other files by --output")
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists; --overwrite replaces it, --output names other files")
