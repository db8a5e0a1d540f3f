"""What users can name is what public_api.txt lists; `python tests/test_public_api.py` renews it on purpose."""

import argparse
import contextlib
import importlib
import inspect
import io
import pkgutil
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from jsonargparse import ArgumentParser
from lightning.pytorch import LightningDataModule, LightningModule

import cotnet
from cotnet.cli.main import COMMANDS, main

SNAPSHOT = Path(__file__).with_name("public_api.txt")
RENEW = "python tests/test_public_api.py"


def packages() -> dict[str, Any]:
    """The package and what lies directly in it, as far as it lists its exports."""
    parts = [found.name for found in pkgutil.iter_modules(cotnet.__path__) if not found.name.startswith("_")]
    names = ["cotnet", *(f"cotnet.{part}" for part in parts)]
    modules = {name: importlib.import_module(name) for name in names}
    return {name: module for name, module in modules.items() if hasattr(module, "__all__")}


def signature(call: Any) -> str:
    """Names, kinds and defaults of the parameters; annotations are left to mypy."""
    try:
        whole = inspect.signature(call)
    except (TypeError, ValueError):
        return "(...)"
    plain = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in whole.parameters.values()]
    text = str(whole.replace(parameters=plain, return_annotation=inspect.Signature.empty))
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def methods(kind: type) -> Iterator[str]:
    """Public methods and properties that the class itself adds to what its bases have."""
    for name, value in sorted(vars(kind).items()):
        if name.startswith("_") or any(hasattr(base, name) for base in kind.__mro__[1:]):
            continue
        if isinstance(value, property):
            yield name
        elif isinstance(value, (classmethod, staticmethod)) or inspect.isfunction(value):
            yield f"{name}{signature(getattr(kind, name))}"


def exports() -> Iterator[str]:
    for package, module in packages().items():
        for name in sorted(module.__all__):
            value = getattr(module, name)
            if isinstance(value, Mapping):
                yield f"{package}.{name}: {', '.join(map(str, value))}"
            elif isinstance(value, type):
                yield f"{package}.{name}{signature(value)}"
                yield from (f"{package}.{name}.{method}" for method in methods(value))
            else:
                yield f"{package}.{name}{signature(value) if callable(value) else ''}"


class ParserFoundError(Exception):
    """Carries a command's parser out of the command."""


def options(command: str) -> list[str]:
    """The options and arguments of a command's parser; of `train`, those in its help text."""

    def stop(parser: argparse.ArgumentParser, *_: Any) -> None:
        raise ParserFoundError(parser)

    if command == "train":
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            main(["train", "--help"])
        return sorted({word.rstrip(".") for word in re.findall(r"--[a-z][\w.]*", out.getvalue())})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_args", stop)
        try:
            importlib.import_module(f"cotnet.cli.{command}").run([])
        except ParserFoundError as found:
            return sorted(described(action) for action in found.args[0]._actions)
    raise AssertionError(f"cotnet {command} parsed no arguments")


def described(action: argparse.Action) -> str:
    """An option, or the name of an argument by place, with the values that it takes."""
    words = ["/".join(action.option_strings) or str(action.metavar or action.dest)]
    if action.nargs not in (None, 0):
        words.append(f"nargs={action.nargs}")
    if action.choices:
        words.append(f"of {'|'.join(map(str, action.choices))}")
    return " ".join(words)


def fields(kind: type) -> list[str]:
    """The fields that a recipe may have for a class."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(kind, "of", fail_untyped=False)
    names = {action.dest.removeprefix("of.") for action in parser._actions if action.dest.startswith("of.")}
    return sorted(name for name in names if not name.endswith(".help"))


def trained() -> dict[str, type]:
    """The modules and data modules that a recipe can name, by class path."""
    return {
        f"{package}.{name}": value
        for package, module in packages().items()
        for name in module.__all__
        if isinstance(value := getattr(module, name), type)
        and issubclass(value, (LightningModule, LightningDataModule))
        and fields(value)
    }


def tensors() -> Iterator[str]:
    from cotnet.detection import export as of_detectors
    from cotnet.exporting import program

    yield f"classifier, segmenter: {program.INPUT} -> {program.OUTPUT}"
    yield f"detector's backbone: {program.INPUT} -> {', '.join(of_detectors.MAPS)}"
    yield f"detector: {of_detectors.IMAGE} -> {', '.join(of_detectors._PARTS)}"


def public_api() -> str:
    return "\n".join(
        [
            f"# Everything that users can name. Renew it with: {RENEW}",
            "\n[python]",
            *exports(),
            "\n[commands]",
            *(f"{command}: {option}" for command in COMMANDS for option in options(command)),
            "\n[recipe fields]",
            *(f"{path}: {', '.join(fields(kind))}" for path, kind in sorted(trained().items())),
            "\n[onnx tensors]",
            *tensors(),
            "",
        ]
    )


def test_nothing_public_has_changed_by_accident():
    assert public_api().splitlines() == SNAPSHOT.read_text().splitlines(), f"if this is meant: {RENEW}"


if __name__ == "__main__":
    SNAPSHOT.write_text(public_api())
