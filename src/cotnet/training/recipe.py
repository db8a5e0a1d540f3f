"""Recipes: YAML files of the fields of a run, each of which may stand on others.

Nothing here imports Lightning, so that a recipe that does not exist is reported at once. The recipes lie in the folders
of the tasks; they are found by path, because an editable install with compiled parts has two roots.
"""

import difflib
import re
from pathlib import Path
from typing import Any

import yaml
from timm import is_model

from cotnet.training.spelling import stray

DEFAULT = "embedded"
_PACKAGE = Path(__file__).parents[1]
_FOLDERS = tuple(_PACKAGE / task / "recipes" for task in ("classification", "detection", "segmentation"))


class _Loader(yaml.SafeLoader):
    """YAML 1.1 as PyYAML reads it, except that ``1e-3`` is a number, as in YAML 1.2 and in Python."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)[eE][-+]?\d+$"), list("-+.0123456789")
)


def parse_yaml(text: str) -> Any:
    """The value of a piece of YAML.

    Raises:
        ValueError: It is no YAML; the message says where.
    """
    try:
        return yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from error


def shipped_recipes() -> dict[str, Path]:
    """The package's recipes by name; a file that begins with an underscore serves as a base only."""
    files = {path: folder for folder in _FOLDERS for path in sorted(folder.rglob("*.yaml"))}
    return {
        path.relative_to(folder).with_suffix("").as_posix(): path
        for path, folder in files.items()
        if not path.name.startswith("_")
    }


def recipe_name(path: Path) -> str:
    """The name of a shipped recipe's file; of another file its name without the suffix."""
    return next((name for name, shipped in shipped_recipes().items() if shipped == path), path.stem)


def find_recipe(name: str) -> Path:
    """The file of a shipped recipe, or the file at that path.

    Args:
        name: A shipped recipe's name, or a path.

    Raises:
        ValueError: There is neither.
    """
    shipped = shipped_recipes()
    if name in shipped:
        return shipped[name]
    path = Path(name)
    if "=" in name and not path.exists():
        raise ValueError(f"{name!r} is no recipe; {stray(name)}")
    command = _meant(path)
    if command is not None:
        raise ValueError(f"{name!r} is no recipe; did you mean cotnet train {command}?")
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml"):
        raise ValueError(f"recipe file {name!r} does not exist")
    near = difflib.get_close_matches(name, shipped, n=1)
    hint = f"did you mean {near[0]}?" if near else "`cotnet train --help` lists them"
    raise ValueError(f"unknown recipe {name!r}; {hint}, or give the path of a YAML file")


def _meant(path: Path) -> str | None:
    """The words of `cotnet train` for a folder, a network or another thing in the place of a recipe, None for none."""
    name, suffix = str(path), path.suffix
    if path.is_dir():
        coco = any(path.glob("*.json")) or any(path.glob("*/*.json"))
        return f"detect_small --data.path {name}" if coco else f"finetune --data.root {name}"
    if suffix in (".ckpt", ".safetensors", ".pth", ".pt", ".tar", ".npz", ".zip"):
        return {
            ".ckpt": f"RECIPE --ckpt_path {name}",
            ".npz": f"finetune --data NpzPack --data.path {name}",
            ".zip": f"detect_small --data.path {name}",
        }.get(suffix, f"finetune --model.init_from {name}")
    if name == "resume":
        return "RECIPE --ckpt_path last"
    return f"finetune --model.name {name}" if not path.exists() and is_model(name) else None


def read_recipe(path: Path, *, above: tuple[Path, ...] = ()) -> list[dict[str, Any]]:
    """The fields of a recipe's bases and of the recipe itself, those that win last.

    ``base`` names a file or a list of files, relative to the recipe; a shipped recipe is a base by its name, too.

    Args:
        path: The YAML file.
        above: The recipes that led here.

    Raises:
        ValueError: A file is missing, is no YAML, holds no fields, or stands on itself.
    """
    if path.resolve() in above:
        raise ValueError(f"recipe {str(path)!r} stands on itself; take it out of the list of bases")
    try:
        content = parse_yaml(path.read_text("utf-8"))
    except ValueError as error:  # that of a wrong encoding is one, too
        raise ValueError(f"recipe {str(path)!r} is no YAML: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"recipe {str(path)!r} holds no fields; see cotnet train --print_config")
    bases = content.pop("base", [])
    chain: list[dict[str, Any]] = []
    for base in [bases] if isinstance(bases, str) else bases:
        beside = path.parent / str(base)
        file = beside if beside.is_file() else shipped_recipes().get(str(base))
        if file is None:
            raise ValueError(f"recipe {str(path)!r} stands on {base!r}, which is no file beside it and no recipe")
        chain += read_recipe(file, above=(*above, path.resolve()))
    return [*chain, content]
