"""`cotnet train [RECIPE] [--field value ...]`: what can be checked before Lightning is loaded."""

import difflib
import shlex
import textwrap
from collections.abc import Iterable
from pathlib import Path

from cotnet.cli.fields import assignments, check_fields
from cotnet.cli.recipes import find_recipe, read_recipe, recipe_name, shipped_recipes

DEFAULT_RECIPE = "embedded"
GROUPS = (
    "model",
    "data",
    "trainer",
    "seed_everything",
    "config",
    "print_config",
    "help",
    "ckpt_path",
    "runs",
    "find_lr",
    "save_every_n_steps",
    "save_every_n_minutes",
)

HELP = """usage: cotnet train [RECIPE] [--field value ...]

Train a network as a recipe says. RECIPE is the path of a YAML file or one of these; default {default}:

{recipes}

Every field of a recipe can be overridden:

  cotnet train                                                    images that are already on this machine
  cotnet train cifar10 --data cotnet.data.NpzPack --data.path FILE --trainer.max_epochs 2
  cotnet train finetune --data.root FOLDER --model.init_from WEIGHTS
  cotnet train detect_small --data.path SET                       boxes; SET is a folder or zip in COCO's format
  cotnet train RECIPE --ckpt_path runs/RECIPE/1/last.ckpt         go on in a new folder, with the same recipe and fields
  cotnet train RECIPE --ckpt_path last                            go on with the newest run, or begin one

  --model.FIELD, --data.FIELD, --trainer.FIELD   e.g. --model.base_lr 0.1 --data.batch_size 32 --trainer.max_epochs 5
  --config FILE       further YAML over the recipe's
  --data CLASS        cotnet.data.BundledImages, CIFAR, NpzPack, ImageFolder, HuggingFace, WebShards
                      or cotnet.detection.CocoData
  --model CLASS       cotnet.classification.Classifier, cotnet.detection.Detector or cotnet.segmentation.Segmenter
  --ckpt_path FILE    checkpoint to resume from, or the word last
  --save_every_n_steps N, --save_every_n_minutes M
                      checkpoints inside an epoch; by default every 15 minutes
  --find_lr FILE.png  instead of training, a learning-rate range test and its image
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
            print(HELP.format(recipes=_listed(shipped_recipes()), default=DEFAULT_RECIPE), end="")
        return
    name, fields = DEFAULT_RECIPE, arguments
    if arguments and not arguments[0].startswith("-"):
        name, fields = arguments[0], arguments[1:]
    path = find_recipe(name)
    _check_groups(fields)
    for flag in ("ckpt_path", "config"):
        _check_file(fields, flag)
    _check_image(fields)
    recipe = read_recipe(path)
    check_fields(fields, recipe)

    from cotnet.cli.train_parser import train

    train(recipe_name(path), recipe, fields, command=shlex.join(["cotnet", "train", *arguments]))


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
        if flag == "ckpt_path" and value and (value == "last" or Path(value).with_name("previous.ckpt").is_file()):
            continue  # train decides
        if value is not None and not Path(value).is_file():
            raise FileNotFoundError(f"--{flag} {value!r} is not a file")


def _check_image(fields: list[str]) -> None:
    for name, value in assignments(fields):
        if name == "find_lr":
            if value is None or Path(value).suffix != ".png":
                raise ValueError(f"--find_lr must name a .png file to write, got {value!r}")
            if not Path(value).absolute().parent.is_dir():
                raise FileNotFoundError(f"--find_lr {value!r}: its folder does not exist; make it first")


def _listed(names: Iterable[str]) -> str:
    """Recipes by their folder."""
    folders: dict[str, list[str]] = {}
    for name in sorted(names):
        folder, slash, stem = name.rpartition("/")
        folders.setdefault(folder + slash, []).append(stem)
    lines = (" ".join([folder, *stems]).strip() for folder, stems in folders.items())
    return "\n".join(textwrap.fill(line, 110, initial_indent="  ", subsequent_indent="    ") for line in lines)
