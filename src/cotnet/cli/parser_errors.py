"""The parser's account of a wrong field, which runs over many lines, as one sentence with the way out."""

import difflib
import inspect
import re
from collections.abc import Mapping, Sequence


def sentence(text: str, fields: Mapping[str, Sequence[type]]) -> str:
    """Say in one sentence what jsonargparse or a constructor found wrong.

    Args:
        text: The message of the error.
        fields: The classes of each group of fields.
    """
    if " --> " in text and ") failed: " in text:  # an error inside of what computes a linked field
        text = text.split(") failed: ", 1)[1]
    group = "data." if "Problem with given class_path" in text else ""  # the only field that is a class
    found = _unknown(text, fields, group) or _required(text, group) or _stray(text) or _typed(text, group)
    found = found or _refused(text)
    return found or " ".join(re.sub(r"Problem with given class_path '[\w.]+':\s*", "", text).split())


def _unknown(text: str, fields: Mapping[str, Sequence[type]], group: str) -> str | None:
    inside = re.search(r"Group '([\w.]+)' does not accept (?:option|nested key) '([\w.]+)'", text)
    match = re.search(r"nrecognized arguments: --(\S+?)(?:[ =]|$)", text) or re.search(
        r"Option '([\w.]+)' is not accepted|Key ['\"]([\w.]+)['\"] is not expected", text
    )
    if inside is None and match is None:
        return None
    if inside is not None:
        field = f"{inside[1]}.{inside[2]}"
    else:
        assert match is not None
        field = group + next(name for name in match.groups() if name).removeprefix(group)
    if field == "data.class_path":
        return "data holds fields beside class_path; a class's own fields stand under init_args"
    return f"unknown field {field}; {_nearest(field, fields)}"


def _required(text: str, group: str) -> str | None:
    match = re.search(r"arguments are required: ([\w.]+)|Key \"([\w.]+)\" is required", text)
    if match is None:
        return None
    name = group + (match[1] or match[2]).removeprefix(group)
    return f"{name} is missing; pass --{name}"


def _stray(text: str) -> str | None:
    match = re.search(r"nrecognized arguments: (\S.*)", text)
    return f"unexpected {match[1]!r}; a field is --GROUP.FIELD VALUE, see cotnet train --help" if match else None


def _typed(text: str, group: str) -> str | None:
    *_, last = [None, *re.finditer(r'Parser key "([\w.]+)":', text)]
    if last is None:
        return None
    rest = text[last.end() :]
    kinds = re.findall(r"Expected an? (<class '[\w.]+'>|typing\.Literal\[[^\]]*\]|[^.\n:]+)", rest)
    kinds = [_kind(one) for one in kinds if "NoneType" not in one and not one.startswith(("path", "dot import"))]
    value = re.search(r"Got value: ?(.*)", rest) or re.search(r"Given value: ?(.*)", rest)
    if not kinds or value is None:
        return None
    name = last[1] if last[1].startswith(group) else group + last[1]
    return f"{name} must be {' or '.join(dict.fromkeys(kinds))}, got {value[1].strip()!r}"


def _refused(text: str) -> str | None:
    """What a constructor said of its arguments, out of the parser's list of all that it tried."""
    tried = re.search(r"Union subtypes\b.*?\bErrors:\n(.*?)(?:\n\s*Given value type:|$)", text, flags=re.DOTALL)
    if tried is None:
        return None
    reasons = [" ".join(one.split()) for one in re.split(r"^\s*- ", tried[1], flags=re.MULTILINE)]
    reason = next((one for one in reasons if one and "NoneType" not in one), None)
    key = re.search(r'Parser key "([\w.]+)":', text)
    value = re.search(r"Given value: ?(.*)", text)
    if reason is None or key is None or value is None:
        return reason
    reason = re.sub(r"Problem with given class_path '[\w.]+':\s*", "", reason)
    return f"{key[1]} cannot be {value[1].strip()!r}: {reason}"


def _kind(text: str) -> str:
    if text.startswith("typing.Literal"):
        return f"one of {text[len('typing.Literal[') : -1]}".replace("'", "")
    return re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", text)


def _nearest(field: str, fields: Mapping[str, Sequence[type]]) -> str:
    group, _, name = field.rpartition(".")
    head = group.split(".")[0]
    if head and head not in fields:
        near = difflib.get_close_matches(head, fields, n=1)
        return f"did you mean {near[0]}.{name}?" if near else f"fields begin with {', '.join(fields)}"
    known = {
        f"--{kind}.{parameter}": parameter
        for kind, classes in fields.items()
        for one in classes
        for parameter in inspect.signature(one).parameters
        if head in ("", kind)
    }
    near = difflib.get_close_matches(name, set(known.values()), n=1)
    if not near:
        return f"cotnet train --help {head or 'data'} lists the fields"
    return "did you mean " + " or ".join(sorted(key for key, value in known.items() if value == near[0])) + "?"
