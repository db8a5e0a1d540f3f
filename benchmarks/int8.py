"""Networks of bytes beside fused float32 and beside OpenVINO's int8: milliseconds a batch, wall time, in turn.

    python benchmarks/int8.py
    python benchmarks/int8.py --models cotnet50,resnet50 --batches 8,1 --threads 2 --rounds 15 --json FILE

Modes: `fused` (cotnet.fuse), `fused-frozen` (that under torch.compile with freezing), `int8` (cotnet.quantize), and of
networks that OpenVINO serves well `openvino-int8` (post-training quantization by NNCF; left out where it is not
installed). Weights are random, so answers mean nothing here and the limit of noise is off; tests/quantization compares
answers. A round runs every candidate once, in turn; the table shows the median and the quartiles over the rounds, and
the median of the ratios to the first candidate of the same round.
"""

import statistics
import time
from collections.abc import Callable

import harness
import timm
import torch
import torch._inductor.config

import cotnet

SIZE = 224


def fused(model: torch.nn.Module, x: torch.Tensor) -> Callable[[], object]:
    network = cotnet.fuse(model)
    return lambda: network(x)


def fused_frozen(model: torch.nn.Module, x: torch.Tensor) -> Callable[[], object]:
    torch._inductor.config.freezing = True
    network = torch.compile(cotnet.fuse(model))
    return lambda: network(x)


def int8(model: torch.nn.Module, x: torch.Tensor) -> Callable[[], object]:
    network = cotnet.quantize(model, torch.randn(8, 3, SIZE, SIZE), largest_noise=float("inf"))
    return lambda: network(x)


def openvino_int8(model: torch.nn.Module, x: torch.Tensor) -> Callable[[], object]:
    import nncf
    import openvino

    core = openvino.Core()
    converted = openvino.convert_model(model, example_input=x[:1], input=[list(x.shape)])
    calibration = nncf.Dataset([torch.randn(x.shape).numpy() for _ in range(2)])
    quantized = nncf.quantize(converted, calibration, subset_size=2)
    threads = {"INFERENCE_NUM_THREADS": torch.get_num_threads(), "NUM_STREAMS": 1, "PERFORMANCE_HINT": "LATENCY"}
    request = core.compile_model(quantized, "CPU", threads).create_infer_request()
    content = x.numpy()
    return lambda: request.infer([content])


MODES = {"fused": fused, "fused-frozen": fused_frozen, "int8": int8, "openvino-int8": openvino_int8}


def main() -> None:
    options = harness.parser(__doc__)
    options.add_argument("--models", default="cotnet50,resnet50")
    options.add_argument("--modes", default="fused,fused-frozen,int8,openvino-int8")
    options.add_argument("--batches", default="8,1")
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--rounds", type=int, default=15)
    args = options.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    print("  ".join(f"{key}: {value}" for key, value in harness.machine().items()))
    with torch.inference_mode():
        for batch in map(int, args.batches.split(",")):
            measure(args, batch)


def measure(args: object, batch: int) -> None:
    candidates: dict[tuple[str, str], Callable[[], object]] = {}
    for name in args.models.split(","):
        x = torch.randn(batch, 3, SIZE, SIZE).contiguous(memory_format=torch.channels_last)
        for mode in args.modes.split(","):
            if mode == "openvino-int8" and "cot" in name:
                continue  # its other parts stay in floats there
            try:
                candidates[name, mode] = MODES[mode](timm.create_model(name).eval(), x)
            except ModuleNotFoundError as error:
                print(f"{name} {mode} is left out: {error.name} is not installed")
                continue
            for _ in range(3):
                candidates[name, mode]()
    times: dict[tuple[str, str], list[float]] = {key: [] for key in candidates}
    for _ in range(args.rounds):
        for key, call in candidates.items():
            start = time.perf_counter()
            for _ in range(max(1, 8 // batch)):
                call()
            times[key].append(1e3 * (time.perf_counter() - start) / max(1, 8 // batch))
    first = next(iter(times.values()))
    for (name, mode), found in times.items():
        low, median, high = statistics.quantiles(found, n=4)
        ratio = statistics.median(a / b for a, b in zip(first, found, strict=True))
        print(f"batch {batch}  {name:18} {mode:14} {median:8.2f} ms ({low:.2f} to {high:.2f})  x{ratio:.2f}")
        harness.record(
            args.json,
            harness.machine(),
            {"model": name, "mode": mode, "batch": batch, "threads": args.threads, "rounds": args.rounds},
            {"median_ms": median, "quartiles_ms": [low, high], "speed_to_first": ratio},
        )


if __name__ == "__main__":
    main()
