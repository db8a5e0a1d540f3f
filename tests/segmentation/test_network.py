import pytest
import torch
import torch.nn.functional as F

from cotnet.exporting.comparison import relative_error
from cotnet.exporting.program import Exporter, output_shape
from cotnet.segmentation.network import create_segmenter, segment, to_batch


@pytest.mark.parametrize("size", [(64, 96), (96, 64), (72, 100)])
def test_every_pixel_gets_logits_and_every_parameter_a_gradient(size):
    network = create_segmenter("resnet10t", num_classes=2, channels=32)
    logits = network(torch.rand(2, 3, *size))
    assert logits.shape == (2, 3, *size)
    logits.square().mean().backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None]


def test_pixels_are_classified_at_the_size_of_each_image_whatever_else_is_in_the_batch():
    """Against all logits of each image alone; two of the images have one size."""
    torch.manual_seed(0)
    network = create_segmenter("resnet10t", num_classes=3, channels=32).eval()
    images = [torch.rand(3, 50, 70), torch.rand(3, 90, 40), torch.rand(3, 50, 70)]
    with torch.no_grad():
        answers = segment(network, images, 64)
        for image, labels in zip(images, answers, strict=True):
            batch, [(height, width)] = to_batch([image], 64)
            logits = network(batch)[:, :, :height, :width]
            wanted = F.interpolate(logits, size=image.shape[-2:], mode="bilinear", align_corners=False)[0].argmax(0)
            assert torch.equal(labels.long(), wanted)
            assert labels.unique().numel() > 1


def test_a_batch_is_padded_to_multiples_of_32():
    batch, sizes = to_batch([torch.rand(3, 50, 70), torch.rand(3, 90, 40)], 64)
    assert batch.shape == (2, 3, 160, 96)
    assert sizes == [(64, 90), (144, 64)]


def test_more_classes_than_a_map_can_hold_are_refused():
    with pytest.raises(ValueError, match="from 1 to 254 classes, got num_classes=255"):
        create_segmenter("resnet10t", num_classes=255)


def test_a_segmenter_for_other_runtimes_takes_any_batch_and_size(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    network = create_segmenter("resnet10t", num_classes=2, channels=32).eval()
    exporter = Exporter(network, 64)
    assert output_shape(exporter.program) == ["batch", 3, "height", "width"]
    exporter.write("onnx", tmp_path / "x.onnx", {})
    session = onnxruntime.InferenceSession(tmp_path / "x.onnx", providers=["CPUExecutionProvider"])
    for shape in ((1, 3, 64, 64), (3, 3, 96, 160)):
        x = torch.randn(shape)
        with torch.no_grad():
            assert relative_error(torch.from_numpy(session.run(None, {"images": x.numpy()})[0]), network(x)) < 1e-4
