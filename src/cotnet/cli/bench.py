"""`cotnet bench [MODEL ...]`."""

import importlib
import math
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cotnet.cli.output import check_output
from cotnet.cli.parser import Parser, at_least, comma_separated, whole_numbers

DESCRIPTION = """Measure networks side by side: time, throughput and memory of inference on the CPU.

MODEL is a name in timm's registry, or a pattern with *; default cotnet50 and resnet50. The candidates of a group of
networks, and those of the baseline with them, run in short blocks in turn, so that a drift of the machine affects all
alike. Peak memory is that of one process for each candidate. Weights are random; the answers of every mode are compared
with eager's, and a mode with other answers gets no ratio and exit status 2.

Modes: eager, compiled (torch.compile), frozen (compiled with freezing), fused (cotnet.fuse), fused-frozen, onnxruntime
and openvino (exported by cotnet export). A mode that cannot be measured is listed with the reason.

  cotnet bench cotnet50 resnet50 --json bench.jsonl
  cotnet bench --peers --modes eager,fused --dtypes float32 --batches 8 --no-memory --json peers.jsonl
  cotnet bench --from peers.jsonl --figure peers.png"""


def run(arguments: list[str]) -> None:
    """Measure as the arguments say.

    Args:
        arguments: What follows ``cotnet bench`` on the command line.

    Raises:
        ValueError: An option or a name is wrong, or a mode has other answers than eager.
        OSError: A file cannot be read or written.
    """
    args = _parse(arguments)
    for option in ("json", "figure"):
        check_output(getattr(args, option), option=option, inputs=[args.source or ""])
    for needed in [*(["matplotlib"] if args.figure else []), *(["rich"] if sys.stdout.isatty() else [])]:
        importlib.import_module(needed)  # before the measuring

    from cotnet import bench

    rows = _measure(args) if args.source is None else bench.read_rows(args.source)
    _print_table(rows)
    if args.figure is not None:
        title = f"measured here, float32, batch {max(row['batch'] for row in rows)}, each in its fastest mode"
        if missing := bench.draw_times(bench.best_modes(rows), Path(args.figure), title=title):
            print(f"not in the figure, because no accuracy is published: {', '.join(missing)}")
    if wrong := [f"{row['model']} {row['mode']} {row['dtype']}" for row in rows if row["wrong_answers"]]:
        raise ValueError(f"no ratio for {', '.join(dict.fromkeys(wrong))}: the answers differ from eager's")


def _parse(arguments: list[str]) -> Namespace:
    from cotnet.files.machine import available_cpus

    parser = Parser("bench", DESCRIPTION)
    parser.add_argument("models", metavar="MODEL", nargs="*")
    parser.add_argument("--peers", action="store_true", help="add the family and every peer with a published accuracy")
    parser.add_argument("--baseline", metavar="MODEL", help="of the ratios; default resnet50, or the first model")
    parser.add_argument("--modes", metavar="LIST", help="with commas between; default all")
    parser.add_argument("--dtypes", metavar="LIST", default="float32,bfloat16", help="default both")
    parser.add_argument("--batches", metavar="LIST", default="1,8", help="images per call; default 1,8")
    parser.add_argument("--size", type=int, metavar="PIXELS", help="default the size each network is published for")
    parser.add_argument("--threads", type=int, metavar="N", default=available_cpus(), help="default one per processor")
    parser.add_argument("--layout", choices=["channels_last", "contiguous"], default="channels_last")
    parser.add_argument("--blocks", type=int, default=9, metavar="N", help="blocks of each candidate; default 9")
    parser.add_argument(
        "--block-ms", type=float, default=100, metavar="MS", help="length of a block; default about 100"
    )
    parser.add_argument("--group", type=int, default=2, metavar="N", help="networks in memory at once; default 2")
    parser.add_argument("--no-memory", action="store_true", help="do not measure peak memory, which takes long")
    parser.add_argument("--json", metavar="FILE", help="append the measurements as JSON lines")
    parser.add_argument(
        "--figure", metavar="FILE.png", help="draw time against published top-1, the authors' beside it"
    )
    parser.add_argument("--from", dest="source", metavar="FILE", help="show what an earlier --json has written")
    args = parser.parse_args(arguments)
    if args.source is not None:
        given = [word.split("=")[0] for word in arguments if word.startswith("--")]
        if idle := [*args.models, *(option for option in given if option not in ("--from", "--figure"))]:
            raise ValueError(f"--from shows earlier measurements; leave {', '.join(idle)} out")
    for name in ("threads", "blocks", "group", "size"):
        if getattr(args, name) is not None:
            at_least(2 if name == "blocks" else 1, name, getattr(args, name))
    if not 0 < args.block_ms < math.inf:
        raise ValueError(f"--block-ms must be above 0 and finite, got {args.block_ms}")
    return args


def _measure(args: Namespace) -> list[dict[str, Any]]:
    from cotnet import bench
    from cotnet.bench.peers import measurable_peers

    options = {
        "modes": comma_separated("modes", args.modes or ",".join(bench.MODES), among=bench.MODES),
        "dtypes": comma_separated("dtypes", args.dtypes, among=("float32", "bfloat16")),
        "batches": [at_least(1, "batches", number) for number in whole_numbers("batches", args.batches)],
        "size": args.size,
    }
    models = [*args.models, *(measurable_peers() if args.peers else [])] or ["cotnet50", "resnet50"]
    grid = bench.Grid.of(models, baseline=args.baseline, **options)
    setting = bench.Setting(args.threads, args.layout, args.blocks, args.block_ms)
    print("  ".join(f"{key}: {value}" for key, value in bench.describe_machine(setting).items()), flush=True)
    return bench.run_grid(
        grid,
        setting,
        per_group=args.group,
        memory=not args.no_memory,
        json_lines=args.json,
        progress=lambda line: print(f"cotnet: {line}", file=sys.stderr, flush=True),
    )


def _print_table(rows: Sequence[dict[str, Any]]) -> None:
    from cotnet.bench.rows import COLUMNS, cells

    texts = [cells(row) for row in rows]
    if sys.stdout.isatty():
        from rich.console import Console
        from rich.table import Table

        table = Table(*COLUMNS, caption="x: speed relative to the baseline's, above 1 is faster")
        for text in texts:
            table.add_row(*text)
        Console().print(table)
        return
    widths = [max(len(line[i]) for line in (COLUMNS, *texts)) for i in range(len(COLUMNS))]
    for line in (COLUMNS, *texts):
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())
