"""Steps as modules of integers, and the network that is put together from them."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, fx, nn

from cotnet.fusing.cot import FusedCoT
from cotnet.ops.int8_conv import ConvGeometry
from cotnet.ops.int8_pool import PoolGeometry
from cotnet.quantization.graph import Step
from cotnet.quantization.modules import (
    Dequantize,
    GlobalAverage,
    Int8Conv,
    Int8CoT,
    Int8Linear,
    Int8Module,
    Int8Pool,
    Quantize,
    corrected,
)
from cotnet.quantization.scales import ByteScale


class Ranges:
    """What the bytes of each value stand for, and the means that biases are corrected by.

    Without a calibration, for a network whose integers are to be loaded, everything stands for itself.
    """

    def scale(self, key: Any) -> ByteScale:
        """Of a node of the graph, or of a part of its layer."""
        return ByteScale(1.0, 0)

    def means(self, key: Any) -> Tensor | None:
        """Of the channels of a value, or None for no correction."""
        return None


def scale_of(node: fx.Node, steps: dict[fx.Node, Step], ranges: Ranges) -> ByteScale:
    """What the bytes of a value stand for; what only moves bytes leaves them as they are."""
    while node in steps and steps[node].keeps_scale:
        node = steps[node].source
    return ranges.scale(node)


def build(step: Step, steps: dict[fx.Node, Step], ranges: Ranges) -> Int8Module:
    """The module that does a step in integers."""
    source, module = scale_of(step.source, steps, ranges), step.module
    if step.averages:
        return GlobalAverage(source)
    if isinstance(module, (nn.MaxPool2d, nn.AvgPool2d)):
        windows = PoolGeometry(
            _pair(module.kernel_size), _pair(module.stride), _pair(module.padding), bool(module.ceil_mode)
        )
        maximum = isinstance(module, nn.MaxPool2d)
        counts_padding = isinstance(module, nn.AvgPool2d) and module.count_include_pad
        return Int8Pool(windows, source, maximum=maximum, counts_padding=counts_padding)
    if isinstance(module, FusedCoT):
        inner = [(step.out, part) for part in ("static", "hidden")]
        static, hidden = (ByteScale(ranges.scale(part).scale, 0) for part in inner)
        means = [mean for key in (step.source, *inner) if (mean := ranges.means(key)) is not None]
        return Int8CoT(module, source, static, hidden, ranges.scale(step.out), means)
    out = None if step.to_float else scale_of(step.out, steps, ranges)
    if isinstance(module, nn.Linear):
        weight = corrected(module.weight[:, None], module.bias, source, 1, ranges.means(step.source))
        return Int8Linear(weight, ConvGeometry((1, 1)), source, out)
    assert isinstance(module, nn.Conv2d)
    padding = (0, 0) if module.padding == "valid" else _pair(module.padding)
    geometry = ConvGeometry(
        _pair(module.kernel_size), _pair(module.stride), padding, _pair(module.dilation), module.groups
    )
    taps_first = module.weight.flatten(2).transpose(1, 2)
    weight = corrected(taps_first, module.bias, source, module.groups, ranges.means(step.source))
    skip = None if step.skip is None else scale_of(step.skip, steps, ranges)
    return Int8Conv(weight, geometry, source, out, skip, relu=step.relu)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def put_together(
    traced: fx.GraphModule, steps: Sequence[Step], modules: dict[fx.Node, Int8Module], ranges: Ranges
) -> fx.GraphModule:
    """The traced network with the modules of its steps, and what turns floats into bytes and back between them."""
    writer = _Writer(traced, {step.out: step for step in steps}, modules, ranges)
    for node in traced.graph.nodes:
        writer.write(node)
    return fx.GraphModule(writer.root, writer.graph)


class _Writer:
    """Writes the new graph, node by node of the old one."""

    def __init__(
        self, traced: fx.GraphModule, steps: dict[fx.Node, Step], modules: dict[fx.Node, Int8Module], ranges: Ranges
    ):
        self.traced, self.steps, self.modules, self.ranges = traced, steps, modules, ranges
        self.graph, self.root = fx.Graph(), {}  # type: tuple[fx.Graph, dict[str, Any]]
        self.floats: dict[fx.Node, fx.Node] = {}
        self.bytes: dict[fx.Node, fx.Node] = {}
        self.inside = {node for step in steps.values() for node in step.nodes if node is not step.out}

    def write(self, node: fx.Node) -> None:
        """Write what becomes of a node, unless it is inside of a step that ends later."""
        if node in self.inside:
            return
        step = self.steps.get(node)
        if step is None:
            if node.op in ("call_module", "get_attr"):
                self.root[str(node.target)] = _attribute(self.traced, str(node.target))
            self.floats[node] = self.graph.node_copy(node, self._as_floats)
            return
        arguments = [self._as_bytes(step.source)]
        if step.skip is not None:
            arguments.append(self._as_bytes(step.skip))
        called = self._call(step.name, self.modules[node], *arguments)
        (self.floats if step.to_float else self.bytes)[node] = called

    def _call(self, name: str, module: nn.Module, *arguments: fx.Node) -> fx.Node:
        unique, number = name, 1
        while unique in self.root:  # a module that is called more than once
            number += 1
            unique = f"{name}_{number}"
        self.root[unique] = module
        return self.graph.call_module(unique, arguments)

    def _as_bytes(self, node: fx.Node) -> fx.Node:
        if node not in self.bytes:
            scale = scale_of(node, self.steps, self.ranges)
            self.bytes[node] = self._call(f"quantize_{node.name}", Quantize(scale), self.floats[node])
        return self.bytes[node]

    def _as_floats(self, node: fx.Node) -> fx.Node:
        if node not in self.floats:
            scale = scale_of(node, self.steps, self.ranges)
            self.floats[node] = self._call(f"dequantize_{node.name}", Dequantize(scale), self.bytes[node])
        return self.floats[node]


def _attribute(module: nn.Module, name: str) -> Any:
    for part in name.split("."):
        module = getattr(module, part)
    return module
