"""The configuration of a run: a recipe and the words over it, checked field by field and parsed once.

The fields of a group are the arguments of its class: ``model.base_lr`` is an argument of ``Classifier``, ``data.root``
of ``ImageFolder``, ``trainer.max_epochs`` of Lightning's ``Trainer``. There is no other list of them.
"""

import inspect
import json
from collections.abc import Sequence
from dataclasses import dataclass, is_dataclass
from pathlib import Path
from types import NoneType
from typing import Any, get_origin

import yaml
from jsonargparse import ArgumentError, ArgumentParser, Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from cotnet.models.arguments import check_arguments
from cotnet.training.field_types import alternatives, check_value, described, nearest
from cotnet.training.groups import CLASSES, Group
from cotnet.training.module import TrainingModule, class_path
from cotnet.training.options import GROUPS, OPTIONS, Assignment, assignments
from cotnet.training.protocol import TrainingData
from cotnet.training.recipe import parse_yaml, read_recipe
from cotnet.training.spelling import spelling
from cotnet.training.unsupported import check_callbacks

_SKIPPED = {"model": {"num_classes"}}  # follows from the data
# A run brings its own logger, checkpoints and progress; see `cotnet.training.fit`.
_TRAINER_DEFAULTS: dict[str, Any] = {
    "logger": False,
    "enable_checkpointing": False,
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "num_sanity_val_steps": 0,
}


@dataclass(frozen=True)
class Config:
    """A checked configuration, from which a run is built.

    Attributes:
        values: Every field with its value.
        parser: Knows the types of the fields.
        model: Class of the module.
        data: Class of the data module.
    """

    values: Namespace
    parser: ArgumentParser
    model: type
    data: type

    def build(self) -> tuple[TrainingModule, TrainingData, Trainer]:
        """Make data, model and trainer, in this order: the model's number of classes follows from the data.

        Raises:
            ValueError: One of them refuses a value, or the data is missing.
        """
        try:
            values = self.parser.instantiate(self.values)
        except (MisconfigurationException, TypeError, ValueError) as error:
            raise ValueError(_reason(error)) from error
        data = self.data(**values.data)
        data.prepare_data()
        data.setup("fit")
        model = self.model(num_classes=data.num_classes, **values.model)
        try:
            callbacks = values.trainer.get("callbacks") or []
            callbacks = callbacks if isinstance(callbacks, list) else [callbacks]
            check_callbacks(callbacks)
            # A further checkpoint callback is the user's; Lightning takes it only where checkpoints are switched on.
            further = {"enable_checkpointing": True} if any(isinstance(one, Checkpoint) for one in callbacks) else {}
            return model, data, Trainer(**{**values.trainer, **further})
        except (MisconfigurationException, TypeError, ValueError) as error:
            raise ValueError(" ".join(str(error).split())) from error

    def to_yaml(self) -> str:
        """The configuration as a recipe, every field with its value."""
        # By way of JSON, since the parser alone knows how its values are written.
        plain = json.loads(self.parser.dump(self.values, format="json", skip_unset=False))
        for group in CLASSES:
            kind = self.model if group == "model" else self.data
            plain[group] = {"class_path": class_path(kind), "init_args": plain[group]}
        return yaml.safe_dump(plain, sort_keys=False, allow_unicode=True)


def read_config(recipe: Sequence[dict[str, Any]], words: Sequence[str]) -> Config:
    """Put the words of a command line over a recipe, and check and parse all fields.

    Args:
        recipe: See `cotnet.training.recipe.read_recipe`.
        words: ``--GROUP.FIELD VALUE`` or ``--GROUP.FIELD=VALUE``, and options of `cotnet.training.options`.

    Raises:
        ValueError: A field or a class is unknown, a value is of the wrong type, or a required one is missing.
    """
    given = [_shortened(one) for one in assignments(words)]
    groups = {name: Group(name) for name in GROUPS}
    groups["trainer"].values.update(_TRAINER_DEFAULTS)
    options: dict[str, Any] = {option.name: option.default for option in OPTIONS}
    parts = [*recipe, *(part for name, value in given if name == "config" for part in read_recipe(Path(value or "")))]
    for part in parts:
        for name, value in part.items():
            if name in groups:
                groups[name].add(value if value is not None else {})
            elif name in options:
                options[name] = value
            else:
                near = nearest(name, [*groups, *options])
                hint = f"did you mean {near}?" if near else f"fields begin with {', '.join(groups)}"
                raise ValueError(f"unknown field {name}; {hint}")
    for name, value in given:
        if name in CLASSES:
            groups[name].add(_needed(name, value))
    kinds = {name: group.kind() for name, group in groups.items()}
    parser = _parser(kinds)
    types = _types(parser)
    for name, group in groups.items():
        group.values = {
            key: value for key, value in group.values.items() if key not in group.inherited or f"{name}.{key}" in types
        }
        for key in group.values:
            _check_name(f"{name}.{key}", types, kinds)
    for name, text in given:
        _check_name(name.rstrip("+"), types, kinds, text)
    native = _fold(given, groups, options, types, _built(parser))
    values = {f"{name}.{key}": value for name, group in groups.items() for key, value in group.values.items()}
    parser.set_defaults({name: check_value(name, value, types[name]) for name, value in (values | options).items()})
    _check_required(kinds, values)
    _check_options(parser)
    try:
        parsed = parser.parse_args(native)
    except (ArgumentError, TypeError, ValueError) as error:
        raise ValueError(_reason(error)) from error
    check_arguments(parsed.model.get("kwargs") or {}, [name.removeprefix("model.") for name in types])
    return Config(parsed, parser, kinds["model"], kinds["data"])


def field_help(group: str) -> str:
    """The fields of a group's classes with their types and defaults, for a terminal."""
    paths = [f"{module}.{name}" for name, module in CLASSES.get(group, {}).items()]
    texts = []
    for path in paths or [""]:
        try:
            kind = Group(group, path or None).kind()
        except ModuleNotFoundError:  # its extra is not installed
            continue
        parser = ArgumentParser()
        parser.add_class_arguments(kind, group, fail_untyped=False, skip=_SKIPPED.get(group))
        lines = parser.format_help().splitlines()
        shown = [line for line in lines if line.lstrip().startswith("--") or line.startswith("      ")]
        texts.append("\n".join(([f"--{group} {path}"] if path else []) + shown))
    return "\n\n".join(texts)


def _shortened(given: Assignment) -> Assignment:
    """``data.class_path`` is ``data``, and ``data.init_args.size`` is ``data.size``."""
    name, value = given
    group, _, rest = name.partition(".")
    if group in CLASSES:
        name = group if rest == "class_path" else f"{group}.{rest.removeprefix('init_args.')}" if rest else group
    return name, value


def _needed(name: str, value: str | None) -> str:
    if value is None:
        raise ValueError(f"{name} needs a value: --{name} VALUE")
    return value


def _parser(kinds: dict[str, type]) -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False, allow_abbrev=False)
    for option in OPTIONS:
        parser.add_argument(f"--{option.name}", type=option.kind, default=option.default, help=option.help)
    for name, kind in kinds.items():
        options: dict[str, Any] = {"fail_untyped": False, "skip": _SKIPPED.get(name), "instantiate": False}
        parser.add_class_arguments(kind, name, **options)
    return parser


def _types(parser: ArgumentParser) -> dict[str, Any]:
    """The annotation of every field; jsonargparse has found those behind ``**kwargs``, too."""
    # Private names, since there are no public ones: the parser's actions for groups and help have no annotation.
    hints = {action.dest: getattr(action, "_typehint", None) for action in parser._actions}
    fields = {name: hint for name, hint in hints.items() if hint is not None and not name.endswith(".help")}
    return fields | {option.name: option.kind for option in OPTIONS}


def _built(parser: ArgumentParser) -> set[str]:
    """The trainer's fields whose values may be objects, such as callbacks."""
    named = {action.dest for action in parser._actions if action.dest.startswith("trainer.")}
    return {name.removesuffix(".help") for name in named if name.endswith(".help")}


def _check_name(name: str, types: dict[str, Any], kinds: dict[str, type], value: str | None = None) -> None:
    """Refuse a field that the classes do not have, and name the one that was probably meant."""
    group, _, path = name.partition(".")
    key = path.partition(".")[0]
    if name in types or f"{group}.{key}" in types or name in (*CLASSES, "config", "print_config"):
        return
    if (key or name).replace("-", "_") == "num_classes":
        raise ValueError("model.num_classes follows from the data and cannot be set")
    if name in GROUPS:
        raise ValueError(f"unexpected --{name}; a field is --{name}.FIELD VALUE, see cotnet train --help {name}")
    elsewhere = [f"--{other}.{key or name}" for other in GROUPS if f"{other}.{key or name}" in types]
    near = nearest(key, [one.removeprefix(f"{group}.") for one in types if one.startswith(f"{group}.")])
    hint = f"--{group}.{near}" if near else next(iter(elsewhere), None)
    hint = spelling(name, types, value=value) or (hint if hint is None or value is None else f"{hint} {value}")
    if hint is not None:
        raise ValueError(f"unknown field {name}; did you mean {hint}?")
    if name in ("data.root", "data.path"):
        meant = f"cotnet train finetune --data.root {value or 'FOLDER'}"
        raise ValueError(f"unknown field {name}: {kinds['data'].__name__} has its own images; did you mean {meant}?")
    if group not in GROUPS:
        raise ValueError(f"unknown field --{name}; fields begin with --model., --data. or --trainer.")
    raise ValueError(
        f"unknown field {name}: {kinds[group].__name__} has no field of this name; "
        f"cotnet train --help {group} lists the fields of every class"
    )


def _fold(
    given: Sequence[Assignment],
    groups: dict[str, Group],
    options: dict[str, Any],
    types: dict[str, Any],
    built: set[str],
) -> list[str]:
    """Put the words over the recipe's fields; give back those that describe objects by parts, for the parser."""
    native: list[str] = []
    for full, text in given:
        name = full.rstrip("+")
        if name in (*CLASSES, "config", "print_config"):
            continue
        value = _needed(name, text)
        group, _, path = name.partition(".")
        if not path:
            options[name] = value
            continue
        key, _, inner = path.partition(".")
        kinds = alternatives(types[f"{group}.{key}"])
        if f"{group}.{key}" in built:
            native += [f"--{full}", value]
        elif inner and any(get_origin(kind) is dict or is_dataclass(kind) for kind in kinds):
            groups[group].set(key, _nested(inner.split("."), _loaded(value)))
        elif inner:
            raise ValueError(f"unknown field {name}; {group}.{key} is {described(types[f'{group}.{key}'])}")
        else:
            groups[group].set(key, _loaded(value) if set(kinds) - {str, NoneType} else value)
    return native


def _nested(path: list[str], value: Any) -> Any:
    return {path[0]: _nested(path[1:], value)} if path else value


def _loaded(text: str) -> Any:
    """A mapping or a plain word's value; other text is read by its field's type."""
    try:
        value = parse_yaml(text)
    except ValueError:
        return text
    return value if isinstance(value, dict) else text


def _check_required(kinds: dict[str, type], values: dict[str, Any]) -> None:
    for group, kind in kinds.items():
        for name, parameter in inspect.signature(kind).parameters.items():
            needed = parameter.default is parameter.empty and parameter.kind not in (
                parameter.VAR_KEYWORD,
                parameter.VAR_POSITIONAL,
            )
            if needed and name not in _SKIPPED.get(group, ()) and f"{group}.{name}" not in values:
                raise ValueError(f"{group}.{name} is missing; pass --{group}.{name}")


def _check_options(parser: ArgumentParser) -> None:
    seed = parser.get_default("seed_everything")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed_everything must be an integer from 0 to {2**32 - 1}, got {seed}")
    for name in ("save_every_n_steps", "save_every_n_minutes"):
        value = parser.get_default(name)
        if value is not None and value <= 0:
            raise ValueError(f"{name} must be above 0, got {value}; null means none")


def _reason(error: BaseException) -> str:
    """What went wrong first, as one line: the parser wraps what a constructor raised."""
    while error.__cause__ is not None:
        error = error.__cause__
    return " ".join(str(error).split()) or type(error).__name__
