"""The fields of `cotnet train`, read from the sources of their classes, so that a typing error need not load Lightning.

What passes here is parsed again by jsonargparse, which has the last word; this only finds the plain mistakes early.
"""

import ast
import difflib
import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

Fields = dict[str, str]  # name to annotation

# Beside the constructor's arguments, what names a class and leads to its arguments in a configuration.
_CLASS_KEYS = ("class_path", "init_args", "dict_kwargs")
TASKS = ("classification", "detection", "segmentation")
_PARSERS: dict[str, Any] = {"int": int, "float": float}


def check_fields(words: list[str], recipe: Sequence[dict[str, Any]]) -> None:
    """Check the names and the simple values of the fields on the command line.

    Args:
        words: The fields, as ``--group.field value`` or ``--group.field=value``.
        recipe: The fields that they override, in the order of `cotnet.cli.recipes.read_recipe`.

    Raises:
        ValueError: A field or a class is unknown, a value is of the wrong kind, or there is no model of the name.
    """
    given = list(assignments(words))
    groups = _groups(*named_classes(words, recipe))
    for name, value in given:
        group, _, path = name.partition(".")
        field, _, rest = path.removeprefix("init_args.").partition(".")
        fields = groups.get(group)
        if not field or fields is None or (group in ("model", "data") and field in _CLASS_KEYS):
            continue
        if name == "model.num_classes":
            raise ValueError("model.num_classes follows from the data and cannot be set")
        if field not in fields:
            raise ValueError(f"unknown field {name}; {_nearest(group, field, groups)}")
        if value is None:
            raise ValueError(f"{name} needs a value: --{name} VALUE")
        if not rest:
            _check_value(name, value, fields[field])
    seed = next((value for name, value in reversed(given) if name == "seed_everything"), None)
    if seed is not None and not (seed.isdecimal() and int(seed) < 2**32):
        raise ValueError(f"seed_everything must be an integer from 0 to {2**32 - 1}, got {seed!r}")
    model = next((value for name, value in reversed(given) if name == "model.name"), None)
    if model is not None:
        from cotnet.models.family import check_name

        check_name(model)


def fields_of(source: Path, class_name: str) -> Fields:
    """The constructor's arguments of a class and their annotations, without importing it."""
    for node in ast.parse(source.read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            for part in node.body:
                if isinstance(part, ast.FunctionDef) and part.name == "__init__":
                    arguments = [*part.args.args[1:], *part.args.kwonlyargs]
                    fields = {one.arg: ast.unparse(one.annotation) if one.annotation else "" for one in arguments}
                    base = Path(__file__).parents[1] / "data" / "module.py"
                    return fields if part.args.kwarg is None else {**fields_of(base, "ImageDataModule"), **fields}
    return {}


def named_classes(words: list[str], recipe: Sequence[dict[str, Any]]) -> tuple[str | None, str | None]:
    """The classes of model and data that the command line or else the recipe names; None where neither does."""
    given = list(assignments(words))
    found: list[str | None] = []
    for group in ("model", "data"):
        word = next((value for name, value in reversed(given) if name in (group, f"{group}.class_path")), None)
        parts = [part.get(group) for part in recipe]
        named = [part["class_path"] for part in parts if isinstance(part, dict) and "class_path" in part]
        value = word or (named[-1] if named else None)
        found.append(value if isinstance(value, str) else None)
    return found[0], found[1]


def _groups(model: str | None, data: str | None) -> dict[str, Fields]:
    """The fields of each group whose class is known; a class from elsewhere is the parser's to judge."""
    groups: dict[str, Fields] = {}
    lightning = importlib.util.find_spec("lightning")
    if lightning is not None and lightning.origin is not None:
        trainer = Path(lightning.origin).parent / "pytorch" / "trainer" / "trainer.py"
        if trainer.is_file():
            groups["trainer"] = fields_of(trainer, "Trainer")
    for group, name, kinds in (
        ("model", model or "cotnet.classification.Classifier", _kinds("TrainingModule", *TASKS)),
        ("data", data, _kinds("ImageDataModule", "data") | _kinds("LightningDataModule", "detection")),
    ):
        _, _, kind = (name or "").rpartition(".")
        if kind in kinds and name in (kind, kinds[kind][0]):
            groups[group] = fields_of(kinds[kind][1], kind)
        elif name and (name == kind or name.startswith("cotnet.")):
            near = difflib.get_close_matches(kind, kinds, n=1)
            hint = f"did you mean {near[0]}?" if near else f"use one of {', '.join(kinds)}"
            raise ValueError(f"unknown {group} class {name!r}; {hint}")
    return groups


def _kinds(base: str, *folders: str) -> dict[str, tuple[str, Path]]:
    """The classes in these folders that derive from `base`: how a recipe names them, and their source files."""
    package = Path(__file__).parents[1]
    return {
        node.name: (f"cotnet.{folder}.{node.name}", source)
        for folder in folders
        for source in sorted((package / folder).rglob("*.py"))
        for node in ast.parse(source.read_text("utf-8")).body
        if isinstance(node, ast.ClassDef) and any(ast.unparse(one) == base for one in node.bases)
    }


def assignments(words: list[str]) -> Iterator[tuple[str, str | None]]:
    """Name and value of each field; None where no value follows."""
    for index, word in enumerate(words):
        if not word.startswith("--"):
            continue
        name, equals, value = word[2:].partition("=")
        following = words[index + 1] if index + 1 < len(words) else None
        if following is not None and following.startswith("--"):
            following = None
        yield name.rstrip("+"), value if equals else following


def _check_value(name: str, value: str, annotation: str) -> None:
    kinds = [kind.strip() for kind in annotation.split("|")]
    if "None" in kinds and value in ("null", "None", "~"):
        return
    if len(set(kinds) - {"None"}) != 1 or kinds[0] not in _PARSERS:
        return
    try:
        _PARSERS[kinds[0]](value)
    except ValueError:
        raise ValueError(f"{name} must be {kinds[0]}, got {value!r}") from None


def _nearest(group: str, field: str, groups: dict[str, Fields]) -> str:
    near = difflib.get_close_matches(field, groups[group], n=1)
    if near:
        return f"did you mean --{group}.{near[0]}?"
    elsewhere = [f"--{other}.{field}" for other, fields in groups.items() if field in fields]
    return f"did you mean {elsewhere[0]}?" if elsewhere else f"cotnet train --help {group} lists the fields"
