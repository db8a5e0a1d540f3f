"""`cotnet train [RECIPE] [--field value ...]`."""

import textwrap
from collections.abc import Iterable

from cotnet.training.options import OPTIONS, assignments, check_files
from cotnet.training.recipe import DEFAULT, find_recipe, read_recipe, shipped_recipes
from cotnet.training.run import run_recipe

HELP = """usage: cotnet train [RECIPE] [--field value ...]

Train a network as a recipe says. RECIPE is the path of a YAML file or one of these; default {default}:

{recipes}

Every field of a recipe can be overridden:

  cotnet train                                                    images that are already on this machine
  cotnet train cifar10 --data cotnet.data.NpzPack --data.path FILE --trainer.max_epochs 2
  cotnet train finetune --data.root FOLDER --model.init_from WEIGHTS
  cotnet train detect_small --data.path SET                       boxes; SET is a folder or zip in COCO's format
  cotnet train RECIPE --ckpt_path runs/RECIPE/1/last.ckpt         resume in a new folder, recipe and fields unchanged
  cotnet train RECIPE --ckpt_path last                            resume the newest run, or begin one

  --model.FIELD, --data.FIELD, --trainer.FIELD   e.g. --model.base_lr 0.1 --data.batch_size 32 --trainer.max_epochs 5
  --config FILE       further YAML over the recipe's
  --data CLASS        cotnet.data.BundledImages, CIFAR, NpzPack, ImageFolder, HuggingFace, WebShards
                      or cotnet.detection.CocoData
  --model CLASS       cotnet.classification.Classifier, cotnet.detection.Detector or cotnet.segmentation.Segmenter
{options}
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
        print(_help([word for word in arguments if word in ("model", "data", "trainer")]))
        return
    named = bool(arguments) and not arguments[0].startswith("-")
    recipe, words = (arguments[0], arguments[1:]) if named else (DEFAULT, arguments)
    if any(word.startswith("--print_config") for word in words):
        print(_configuration(recipe, words), end="")
    else:
        run_recipe(recipe, words)


def _help(groups: list[str]) -> str:
    if groups:
        from cotnet.training.config import field_help

        return field_help(groups[0])
    lines = []
    for option in OPTIONS:
        head = f"  --{option.name} {option.metavar}"
        lines.append(f"{head:21} {option.help}" if len(head) < 22 else f"{head}\n{'':22}{option.help}")
    return HELP.format(recipes=_by_folder(shipped_recipes()), default=DEFAULT, options="\n".join(lines)).rstrip("\n")


def _configuration(recipe: str, words: list[str]) -> str:
    path = find_recipe(recipe)
    check_files(assignments(words))
    fields = read_recipe(path)

    from cotnet.training.config import read_config

    return read_config(fields, words).to_yaml()


def _by_folder(names: Iterable[str]) -> str:
    folders: dict[str, list[str]] = {}
    for name in sorted(names):
        folder, slash, stem = name.rpartition("/")
        folders.setdefault(folder + slash, []).append(stem)
    lines = (" ".join([folder, *stems]).strip() for folder, stems in folders.items())
    return "\n".join(textwrap.fill(line, 110, initial_indent="  ", subsequent_indent="    ") for line in lines)
