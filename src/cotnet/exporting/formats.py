"""The formats that a network is exported to: their endings, their files, the packages that they need."""

import importlib.util
from pathlib import Path

ENDINGS = {"torch": ".pt2", "onnx": ".onnx", "openvino": ".xml"}
_NEEDS = {"torch": (), "onnx": ("onnx", "onnxscript", "onnxruntime"), "openvino": ("onnx", "onnxscript", "openvino")}


def artefact_files(form: str, stem: Path) -> list[Path]:
    """The files of an artefact: the one to open first, the JSON with its description last."""
    main = stem.with_name(stem.name + ENDINGS[form])
    weights = [stem.with_name(f"{stem.name}.bin")] if form == "openvino" else []
    return [main, *weights, main.with_name(f"{main.name}.json")]


def missing_packages(form: str) -> str | None:
    """What a format lacks and how to install it, or `None`."""
    missing = [name for name in _NEEDS[form] if importlib.util.find_spec(name) is None]
    if not missing:
        return None
    return f"format {form} needs {', '.join(missing)}; install it with: pip install 'cotnet[{form}]'"
