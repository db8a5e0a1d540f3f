"""Checks one field's value at a time, so that a wrong one is one sentence that names field, value and type."""

import difflib
from collections.abc import Iterable
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

from jsonargparse import ArgumentError, ArgumentParser

from cotnet.training.spelling import precision


def check_value(name: str, value: Any, kind: Any) -> Any:
    """A field's value as its type; text is read as on a command line.

    Args:
        name: The field, such as ``model.base_lr``.
        value: What was given.
        kind: The annotation of the field.

    Raises:
        ValueError: It is not of that type; the message says what is.
    """
    options = alternatives(kind)
    structure = next((one for one in options if is_dataclass(one)), None)
    if structure is not None and isinstance(value, dict):
        value = _check_structure(name, value, structure)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--value", type=kind)
    try:
        if value is None and NoneType not in options:
            raise ValueError
        return parser.parse_object({"value": value}).value
    except (ArgumentError, TypeError, ValueError) as error:
        raise ValueError(f"{name} must be {described(kind)}, got {value!r}{_suggestion(value, options)}") from error


def alternatives(kind: Any) -> list[Any]:
    """The members of a union, or the type alone."""
    if get_origin(kind) in (Union, UnionType):
        return [one for part in get_args(kind) for one in alternatives(part)]
    return [kind]


def described(kind: Any) -> str:
    """A type in words, without None."""
    options = [one for one in alternatives(kind) if one is not NoneType]
    choices = [str(value) for one in options if get_origin(one) is Literal for value in get_args(one)]
    words = [_word(one) for one in options if get_origin(one) is not Literal]
    if choices:
        words.append(f"one of {', '.join(dict.fromkeys(choices))}")
    return " or ".join(dict.fromkeys(words))


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like this one, if any does."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1)), None)


def _suggestion(value: Any, options: list[Any]) -> str:
    choices = [str(one) for option in options if get_origin(option) is Literal for one in get_args(option)]
    meant = precision(str(value)) if "16-mixed" in choices else None
    meant = meant or nearest(str(value), choices)
    return f"; did you mean {meant}?" if meant else ""


def _check_structure(name: str, value: dict[str, Any], structure: Any) -> dict[str, Any]:
    kinds = {field.name: field.type for field in fields(structure)}
    for key in value:
        if key not in kinds:
            near = nearest(str(key), kinds)
            hint = f"did you mean --{name}.{near}?" if near else f"it has {', '.join(kinds)}"
            raise ValueError(f"unknown field {name}.{key}; {hint}")
    for field in fields(structure):
        if field.name not in value and field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{name}.{field.name} is missing; pass --{name}.{field.name}")
    return {key: check_value(f"{name}.{key}", one, kinds[key]) for key, one in value.items()}


def _word(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is tuple:
        return f"[{', '.join(map(described, arguments))}]"
    if origin is list:
        return f"a list of {described(arguments[0])}"
    if kind is dict or origin is dict:
        return "a mapping {name: value}"
    if kind is bool:
        return "true or false"
    if is_dataclass(kind):
        return f"a mapping with the fields {', '.join(field.name for field in fields(kind))}"
    simple = kind in (int, float, str)
    return kind.__name__ if simple else f"a {getattr(kind, '__name__', kind)}"
