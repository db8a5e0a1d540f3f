"""`cotnet study STUDY [--field value ...]`."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from cotnet.cli.parser import Parser, at_least

DESCRIPTION = """Train networks that differ in one thing alike, over several seeds, and compare them.

STUDY is one of {studies}, or a YAML file; without it, --bodies and --mixers make a grid.
Fields of `cotnet train` may follow and hold for every run, e.g.

  cotnet study context --data cotnet.data.NpzPack --data.path FILE.npz --trainer.max_epochs 10
  cotnet study --bodies cotnet20_nano --mixers conv,cot --stages all,res4 --recipe embedded

A study that was stopped resumes by the same command. It leaves results.csv, report.md, figure.png and
the run of every cell in its folder."""


def run(arguments: list[str]) -> None:
    """Run a study as the arguments say.

    Raises:
        ValueError: The study, a case or an option is wrong.
        UnfinishedError: Some cells failed; they have been named.
    """
    from cotnet.cli.errors import UnfinishedError
    from cotnet.study import Study, grid, load_study, run_study, study_names

    parser = Parser("study", DESCRIPTION.format(studies=", ".join(study_names())))
    parser.add_argument("study", nargs="?", metavar="STUDY")
    parser.add_argument("--bodies", metavar="NAMES", help="of a grid, with commas between")
    parser.add_argument("--mixers", metavar="NAMES", help="of a grid")
    parser.add_argument("--stages", metavar="NAMES", default="all", help="of a grid: all, res4, res2-3, ...")
    parser.add_argument("--kernel-sizes", metavar="LIST", default="3", help="of a grid; default 3")
    parser.add_argument("--recipe", metavar="NAME", help="of `cotnet train`, in the place of the study's")
    parser.add_argument("--seeds", metavar="LIST", help="e.g. 0,1,2; default what the study says, or 0,1,2")
    parser.add_argument("--output", metavar="FOLDER", help="default studies/STUDY")
    parser.add_argument(
        "--jobs", type=int, metavar="N", help="cells at a time; default one for each processor, with a GPU one"
    )
    parser.add_argument("--report-only", action="store_true", help="train nothing, report what is done")
    options, fields = _split(arguments)
    args = parser.parse_args(options)
    jobs = at_least(1, "jobs", args.jobs) if args.jobs is not None else None

    if args.study is not None:
        if args.bodies or args.mixers:
            raise ValueError("give either a study or --bodies and --mixers, not both")
        study = load_study(args.study)
    elif args.bodies and args.mixers:
        bodies, mixers, stages = (_names(text) for text in (args.bodies, args.mixers, args.stages))
        study = Study("Grid", grid(bodies, mixers, stages, _numbers("kernel-sizes", args.kernel_sizes)))
    else:
        raise ValueError(f"name a study ({', '.join(study_names())}), or both --bodies and --mixers")
    if args.seeds is not None:
        study = replace(study, seeds=tuple(_numbers("seeds", args.seeds)))
    if args.recipe is not None:
        study = replace(study, recipe=args.recipe)
    output = Path(args.output or f"studies/{Path(args.study).stem if args.study else 'grid'}")
    say = partial(print, flush=True)
    report, failed = run_study(study, output, fields, jobs=jobs, train=not args.report_only, say=say)
    print(f"\n{report}\neverything is in {output}")
    if failed:
        print("failed:\n" + "\n".join(f"  {line}" for line in failed))
        raise UnfinishedError


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The options of the study, and the fields of `cotnet train` with their values."""
    options: list[str] = []
    fields: list[str] = []
    part = options
    for word in arguments:
        name = word.split("=")[0]
        if name.startswith(("--model.name", "--model.kwargs")):
            raise ValueError(f"{name} is what the study varies and cannot be set")
        if word.startswith("--"):
            part = fields if name.partition(".")[0] in ("--model", "--data", "--trainer") else options
        part.append(word)
    return options, fields


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _numbers(option: str, text: str) -> list[int]:
    try:
        return [int(part) for part in _names(text)]
    except ValueError:
        raise ValueError(f"--{option} must be whole numbers with commas between, got {text!r}") from None
