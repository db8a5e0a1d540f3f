"""The operator under torch.compile and torch.export."""

import pytest
import torch
from torch import nn
from torch.export import Dim

from cotnet import CoTLayer, local_aggregation
from cotnet.layers.local_attention import LocalAttention


@pytest.fixture(autouse=True)
def _no_recompiles():
    torch._dynamo.reset()
    with torch._dynamo.config.patch(error_on_recompile=True):
        yield


def test_one_compilation_serves_every_size():
    def layer(value, weight):
        return local_aggregation(value * 2, weight, 3).relu()

    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend="aot_eager")
    for batch, height, width in ((3, 5, 7), (5, 9, 6), (4, 13, 8)):
        value = torch.randn(batch, 16, height, width, requires_grad=True)
        weight = torch.randn(batch, 2, 9, height, width, requires_grad=True)
        expected = torch.autograd.grad(layer(value, weight).sum(), (value, weight))
        actual = torch.autograd.grad(compiled(value, weight).sum(), (value, weight))
        torch.testing.assert_close(actual, expected)


def test_compiled_by_inductor_in_channels_last():
    def layer(value, weight):
        return local_aggregation(value + 1, weight * 2, 3, stride=2, groups=2) * 3

    value = torch.randn(2, 16, 7, 6).contiguous(memory_format=torch.channels_last)
    weight = torch.randn(2, 4, 9, 4, 3)
    torch.testing.assert_close(torch.compile(layer, fullgraph=True)(value, weight), layer(value, weight))


@pytest.mark.parametrize("dynamic", [None, True])
def test_compiled_transforms(dynamic):
    value, tangent, weight = torch.randn(3, 16, 5, 7), torch.randn(3, 16, 5, 7), torch.randn(3, 2, 9, 5, 7)

    def aggregate(v):
        return local_aggregation(v, weight, 3)

    for transform in (
        lambda v: torch.func.jvp(aggregate, (v,), (tangent,))[1],
        torch.func.grad(lambda v: aggregate(v).square().sum()),
        lambda v: torch.vmap(aggregate)(torch.stack([v, v + 1])),
    ):
        compiled = torch.compile(transform, fullgraph=True, dynamic=dynamic, backend="aot_eager")
        torch.testing.assert_close(compiled(value), transform(value))


def test_a_layer_in_training_compiles_once_for_every_size():
    layer = CoTLayer(16)
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend="aot_eager")
    for batch, height, width in ((3, 5, 7), (5, 9, 6)):
        x = torch.randn(batch, 16, height, width)
        with torch.autocast("cpu", torch.bfloat16):
            out, expected = compiled(x), layer(x)
        torch.testing.assert_close(out, expected, atol=0.05, rtol=0.05)
        out.float().square().mean().backward()
    assert torch._dynamo.utils.counters["graph_break"] == {}


def test_attention_compiles_once_for_every_size():
    layer = LocalAttention(16, heads=2)
    compiled = torch.compile(layer, fullgraph=True, dynamic=True, backend="aot_eager")
    for batch, height, width in ((3, 5, 7), (5, 9, 6)):
        x = torch.randn(batch, 16, height, width)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(compiled(x), layer(x), atol=0.05, rtol=0.05)


class Aggregate(nn.Module):
    """The operator as a module."""

    def __init__(self, kernel_size=3, **options):
        super().__init__()
        self.kernel_size, self.options = kernel_size, options

    def forward(self, value, weight):
        """[N, C, H, W] to [N, C, H', W']."""
        return local_aggregation(value, weight, self.kernel_size, **self.options)


def test_export_holds_standard_operators_for_every_size():
    batch, height, width = Dim("batch"), Dim("height"), Dim("width")
    shapes = ({0: batch, 2: height, 3: width}, {0: batch, 3: height, 4: width})
    program = torch.export.export(
        Aggregate(), (torch.randn(3, 16, 5, 7), torch.randn(3, 2, 9, 5, 7)), dynamic_shapes=shapes
    )
    assert "cotnet" not in program.graph_module.code
    value, weight = torch.randn(5, 16, 8, 6), torch.randn(5, 2, 9, 8, 6)
    torch.testing.assert_close(program.module()(value, weight), local_aggregation(value, weight, 3))


@pytest.mark.parametrize(("kernel_size", "stride"), [(1, 2), (3, 3), (5, 2)])
def test_export_of_a_stride_is_not_bound_to_the_sizes_of_the_example(kernel_size, stride):
    def example(batch, height, width):
        out = ((height - 1) // stride + 1, (width - 1) // stride + 1)
        return torch.randn(batch, 8, height, width), torch.randn(batch, 2, kernel_size**2, *out)

    shapes = ({0: Dim.AUTO, 2: Dim.AUTO, 3: Dim.AUTO}, {0: Dim.AUTO, 3: Dim.AUTO, 4: Dim.AUTO})
    layer = Aggregate(kernel_size, stride=stride)
    program = torch.export.export(layer, example(2, 10, 13), dynamic_shapes=shapes).module()
    for sizes in ((3, 8, 9), (4, 9, 5)):
        arguments = example(*sizes)
        torch.testing.assert_close(program(*arguments), layer(*arguments))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "module", [Aggregate(), CoTLayer(16), LocalAttention(16, heads=2)], ids=lambda module: type(module).__name__
)
def test_onnx_holds_standard_operators_for_every_size(tmp_path, module):
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    runtime = pytest.importorskip("onnxruntime")
    batch, height, width = Dim("batch"), Dim("height"), Dim("width")
    names, shapes = ["value"], [{0: batch, 2: height, 3: width}]
    example, other = [torch.randn(3, 16, 5, 7)], [torch.randn(5, 16, 8, 6)]
    if isinstance(module, Aggregate):
        names, shapes = [*names, "weight"], [*shapes, {0: batch, 3: height, 4: width}]
        example, other = [*example, torch.randn(3, 2, 9, 5, 7)], [*other, torch.randn(5, 2, 9, 8, 6)]
    module.eval()
    path = tmp_path / "module.onnx"
    options = {"dynamic_shapes": tuple(shapes), "input_names": names, "dynamo": True, "verbose": False}
    torch.onnx.export(module, tuple(example), path, **options)
    graph = onnx.load(path)
    assert {node.domain for node in graph.graph.node} <= {"", "ai.onnx"}
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (out,) = session.run(None, {name: x.numpy() for name, x in zip(names, other, strict=True)})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(out), module(*other), atol=1e-5, rtol=1e-4)
