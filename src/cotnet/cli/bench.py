"""`cotnet bench [MODEL ...]`."""

import importlib
import json
import math
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cotnet.cli.output import check_output
from cotnet.cli.parser import Parser, at_least

if TYPE_CHECKING:
    from cotnet.bench.candidates import Setting

DESCRIPTION = """Measure networks side by side: time, throughput and memory of inference on the CPU.

MODEL is a name in timm's registry, or a pattern with *; default cotnet50 and resnet50. All candidates of a group of
networks, and those of the baseline with them, run in short blocks in turn, so that a drift of the machine meets all
alike. Peak memory is that of a process for each candidate. Weights are random; the answers of every mode are compared
with eager's, and a mode that answers otherwise gets no ratio and exit status 2.

Modes: eager, compiled (torch.compile), frozen (compiled with freezing), fused (cotnet.fuse), fused-frozen, onnxruntime
and openvino (exported by cotnet export). One that cannot serve is listed with the reason.

  cotnet bench cotnet50 resnet50 --json bench.jsonl
  cotnet bench --peers --modes eager,fused --dtypes float32 --batches 8 --no-memory --json peers.jsonl
  cotnet bench --from peers.jsonl --figure peers.png"""


def run(arguments: list[str]) -> None:
    """Measure as the arguments say.

    Raises:
        ValueError: an option or a name is wrong, or a mode answers otherwise than eager.
        OSError: a file cannot be written.
    """
    parser = Parser("bench", DESCRIPTION)
    parser.add_argument("models", metavar="MODEL", nargs="*")
    parser.add_argument("--peers", action="store_true", help="add the family and every peer with a published accuracy")
    parser.add_argument("--baseline", metavar="MODEL", help="of the ratios; default resnet50, or the first model")
    parser.add_argument("--modes", metavar="LIST", help="with commas between; default all")
    parser.add_argument("--dtypes", metavar="LIST", default="float32,bfloat16", help="default both")
    parser.add_argument("--batches", metavar="LIST", default="1,8", help="images a call; default 1,8")
    parser.add_argument("--size", type=int, metavar="PIXELS", help="default the size each network is published for")
    parser.add_argument("--threads", type=int, metavar="N", default=os.cpu_count() or 1, help="default one a core")
    parser.add_argument("--layout", choices=["channels_last", "contiguous"], default="channels_last")
    parser.add_argument("--blocks", type=int, default=9, metavar="N", help="of each candidate; default 9")
    parser.add_argument("--block-ms", type=float, default=100, metavar="MS", help="about how long each is; default 100")
    parser.add_argument("--group", type=int, default=2, metavar="N", help="networks in memory at once; default 2")
    parser.add_argument("--no-memory", action="store_true", help="leave peak memory out, which takes long")
    parser.add_argument("--json", metavar="FILE", help="append the measurements as JSON lines")
    parser.add_argument("--figure", metavar="FILE.png", help="time against published top-1, the authors' beside")
    parser.add_argument("--from", dest="source", metavar="FILE", help="show what an earlier --json holds")
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
    for option in ("json", "figure"):
        check_output(getattr(args, option), option=option, inputs=[args.source or ""])

    for needed in [*(["matplotlib"] if args.figure else []), *(["rich"] if sys.stdout.isatty() else [])]:
        importlib.import_module(needed)  # before the measuring

    rows = _measure(args) if args.source is None else list(_read(args.source))
    _print_table(rows)
    if args.figure is not None:
        _draw(rows, Path(args.figure))
    wrong = [row for row in rows if row["wrong_answers"]]
    if wrong:
        named = ", ".join(dict.fromkeys(f"{row['model']} {row['mode']} {row['dtype']}" for row in wrong))
        raise ValueError(f"no ratio for {named}: the answers differ from eager's")


def _measure(args: Any) -> list[dict[str, Any]]:
    import tempfile

    from cotnet.bench.candidates import MODES, Candidate, Setting
    from cotnet.bench.peers import find_models, measurable_peers, own_size
    from cotnet.bench.report import machine

    modes = _listed("modes", args.modes or ",".join(MODES), MODES)
    dtypes = _listed("dtypes", args.dtypes, ("float32", "bfloat16"))
    batches = [at_least(1, "batches", _number(word)) for word in _words(args.batches)]
    if not batches:
        raise ValueError("--batches names none")
    models = find_models([*args.models, *(measurable_peers() if args.peers else [])] or ["cotnet50", "resnet50"])
    [baseline] = find_models([args.baseline or ("resnet50" if "resnet50" in models else models[0])])[:1]

    def candidates(names: Sequence[str]) -> list[Candidate]:
        return [
            Candidate(model, mode, dtype, batch, args.size or own_size(model))
            for dtype in dtypes
            for batch in batches
            for model in names
            for mode in modes
        ]

    others = [model for model in models if model != baseline]
    groups = [others[i : i + args.group] for i in range(0, len(others), args.group)] or [[]]
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="cotnet-bench-") as folder:
        setting = Setting(args.threads, args.layout, args.blocks, args.block_ms, Path(folder))
        about = machine(setting)
        print("  ".join(f"{key}: {value}" for key, value in about.items()), flush=True)
        for number, group in enumerate(groups, 1):
            names = ", ".join([baseline, *group])
            print(f"cotnet: group {number} of {len(groups)}: {names}", file=sys.stderr, flush=True)
            found = _measure_group(candidates([baseline, *group]), setting, baseline, memory=not args.no_memory)
            if args.json:
                common = {**about, "baseline": baseline, "group": number}
                with open(args.json, "a", encoding="utf-8") as file:
                    file.writelines(json.dumps({**common, **row}) + "\n" for row in found)
            rows += [row for row in found if number == 1 or row["model"] != baseline]
    return rows


def _measure_group(
    candidates: Sequence[Any], setting: "Setting", baseline: str, *, memory: bool
) -> list[dict[str, Any]]:
    from cotnet.bench.measure import in_child, measure_memory, measure_times
    from cotnet.bench.report import plain_rows

    rows = in_child(measure_times, candidates, setting)
    peaks = [in_child(measure_memory, row.candidate, setting) if memory and row.times else None for row in rows]
    return plain_rows(rows, peaks, baseline)


def _print_table(rows: Sequence[dict[str, Any]]) -> None:
    from cotnet.bench.report import COLUMNS, cells

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


def _draw(rows: Sequence[dict[str, Any]], path: Path) -> None:
    from cotnet.bench.figure import draw_times
    from cotnet.bench.report import best_modes

    best = best_modes(rows)
    batches = {row["batch"] for row in rows}
    partial = path.with_name(f"{path.name}.partial")
    missing = draw_times(best, partial, title=f"measured here, float32, batch {max(batches)}, each in its fastest mode")
    os.replace(partial, path)
    if missing:
        print(f"not in the figure, no accuracy is published: {', '.join(missing)}")


def _read(source: str) -> Iterator[dict[str, Any]]:
    """The last measurement of each candidate in a file."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for number, line in enumerate(Path(source).read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            found[tuple(row[key] for key in ("model", "mode", "dtype", "batch", "size"))] = row
            _ = row["wrong_answers"], row["note"]
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise ValueError(f"{source}, line {number}, is no measurement of cotnet bench --json") from error
    if not found:
        raise ValueError(f"{source} holds no measurements")
    yield from found.values()


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _listed(option: str, text: str, known: Sequence[str]) -> list[str]:
    words = list(dict.fromkeys(_words(text)))
    for word in words:
        if word not in known:
            raise ValueError(f"--{option} must be of {', '.join(known)}, got {word!r}")
    if not words:
        raise ValueError(f"--{option} names none of {', '.join(known)}")
    return words


def _number(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise ValueError(f"--batches must be whole numbers with commas between, got {word!r}") from None
