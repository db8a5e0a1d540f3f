"""`cotnet train [RECIPE] [--field value ...]`: what can be checked before Lightning is loaded."""

import difflib
from pathlib import Path

from cotnet.cli.fields import check_fields

DEFAULT_RECIPE = "embedded"
GROUPS = ("model", "data", "trainer", "seed_everything", "config", "print_config", "help", "ckpt_path", "runs")

HELP = """usage: cotnet train [RECIPE] [--field value ...]

Train a classifier as a recipe says. RECIPE is one of {recipes}, or a YAML file; default {default}.
Every field of a recipe can be overridden:

  cotnet train                                                    pictures that are already on this machine
  cotnet train cifar10 --data cotnet.data.NpzPack --data.path FILE --trainer.max_epochs 2
  cotnet train finetune --data.root FOLDER --model.init_from WEIGHTS
  cotnet train RECIPE --ckpt_path runs/RECIPE/1/last.ckpt         resume, with the same recipe and fields

  --model.FIELD, --data.FIELD, --trainer.FIELD   e.g. --model.base_lr 0.1 --data.batch_size 32 --trainer.max_epochs 5
  --data CLASS        cotnet.data.EmbeddedPictures, CIFAR, NpzPack or ImageFolder
  --ckpt_path FILE    checkpoint to resume from
  --runs FOLDER       where run folders RECIPE/NUMBER are made; default runs
  --seed_everything N seed
  --print_config      print the whole configuration, every field with its value, and stop
  --help              this text; --help model, --help data or --help trainer lists the fields of that group
"""


def run(arguments: list[str]) -> None:
    """Train as the arguments say.

    Args:
        arguments: What follows ``cotnet train`` on the command line.

    Raises:
        ValueError: A field, a recipe or the data is wrong.
        FileNotFoundError: A file is missing.
    """
    if "-h" in arguments or "--help" in arguments:
        asked = [word for word in arguments if word in ("model", "data", "trainer")]
        if asked:
            from cotnet.cli.train_parser import print_fields

            print_fields(asked[0])
        else:
            print(HELP.format(recipes=", ".join(recipe_names()), default=DEFAULT_RECIPE), end="")
        return
    name, fields = DEFAULT_RECIPE, arguments
    if arguments and not arguments[0].startswith("-"):
        name, fields = arguments[0], arguments[1:]
    path = find_recipe(name)
    _check_groups(fields)
    for flag in ("ckpt_path", "config"):
        _check_file(fields, flag)
    check_fields(fields, path)

    from cotnet.cli.train_parser import train

    train(path, fields)


def recipe_names() -> list[str]:
    """Names of the recipes that the package ships."""
    return sorted(_recipes())


def find_recipe(name: str) -> Path:
    """The file of a shipped recipe, or the file of that path.

    Raises:
        ValueError: There is neither.
    """
    shipped = _recipes()
    if name in shipped:
        return shipped[name]
    path = Path(name)
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml"):
        raise ValueError(f"recipe file {name!r} does not exist")
    raise ValueError(f"unknown recipe {name!r}; {_nearest(name, recipe_names())}, or the path of a YAML file")


def _recipes() -> dict[str, Path]:
    # By path: importing cotnet.train would load Lightning, and an editable install with compiled parts has two roots.
    package = Path(__file__).parents[1]
    return {path.stem: path for folder in ("train", "detection") for path in (package / folder).glob("recipes/*.yaml")}


def _check_groups(fields: list[str]) -> None:
    for word in fields:
        if not word.startswith("--"):
            continue
        group = word[2:].split("=")[0].split(".")[0].rstrip("+")
        if group not in GROUPS:
            near = difflib.get_close_matches(group, GROUPS, n=1)
            hint = f"did you mean --{near[0]}?" if near else "fields begin with --model., --data. or --trainer."
            raise ValueError(f"unknown field {word.split('=')[0]}; {hint} See cotnet train --help")


def _check_file(fields: list[str], flag: str) -> None:
    for index, word in enumerate(fields):
        value = None
        if word == f"--{flag}":
            value = fields[index + 1] if index + 1 < len(fields) else ""
        elif word.startswith(f"--{flag}="):
            value = word.split("=", 1)[1]
        if value is not None and not Path(value).is_file():
            raise FileNotFoundError(f"--{flag} {value!r} is not a file")


def _nearest(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?  The package has {', '.join(known)}" if near else f"use one of {', '.join(known)}"
