"""Run by torchrun in `test_processes`: what two processes compute, and whether it is what one computes."""

import json
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import timm
import torch
import torch.distributed as dist
from lightning.pytorch.callbacks import EMAWeightAveraging
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

import cotnet  # noqa: F401 (registers the family)
from cotnet.cli import main
from cotnet.data.unreadable import UnreadableImages
from cotnet.files.image import UnreadableImageError
from cotnet.training.sync_norm import AverageNorms, replace_norms


def gradients(network: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
    """Gradients and running statistics after one step of training."""
    cross_entropy(network(x), labels).backward()
    module = network.module if isinstance(network, DistributedDataParallel) else network
    grads = {name: p.grad for name, p in module.named_parameters()}
    return grads | {name: b for name, b in module.named_buffers() if "running" in name}


def difference(sync: bool) -> float:
    """The largest difference between one process with eight images and two with four."""
    torch.manual_seed(0)
    x, labels = torch.randn(8, 3, 16, 16, dtype=torch.float64), torch.arange(8) % 3
    network = timm.create_model("cotnet20_nano", num_classes=3).double().train()
    for name, parameter in network.named_parameters():  # blocks begin as their shortcut, which would hide the rest
        if name.endswith("bn3.weight"):
            nn.init.ones_(parameter)
    entries = {name: value.clone() for name, value in network.state_dict().items()}
    whole = gradients(network, x, labels)
    halved = timm.create_model("cotnet20_nano", num_classes=3).double().train()
    halved.load_state_dict(entries)
    halved = replace_norms(halved) if sync else halved
    rank = dist.get_rank()
    ddp = DistributedDataParallel(halved, broadcast_buffers=False)
    parts = gradients(ddp, x[4 * rank : 4 * rank + 4], labels[4 * rank : 4 * rank + 4])
    assert whole.keys() == parts.keys()
    return max(float((whole[name] - parts[name]).abs().max()) for name in whole)


def averaged() -> list[float]:
    """Running means of a network and of its moving average that were 0 in one process and 1 in the other."""
    network, average = nn.BatchNorm2d(1), AveragedModel(nn.BatchNorm2d(1))
    for module in (network, average.module):
        module.running_mean.fill_(dist.get_rank())
    callback = EMAWeightAveraging()
    callback._average_model = average
    at_the_end = SimpleNamespace(world_size=2, is_last_batch=True, callbacks=[callback])
    AverageNorms().on_train_batch_end(at_the_end, network)
    return [float(network.running_mean), float(average.module.running_mean)]


def skipped() -> list[str]:
    """What both processes know of images of which each has found one that cannot be read."""
    unreadable = UnreadableImages(9, tolerated=2)
    unreadable.skip(3 + dist.get_rank(), UnreadableImageError("cannot read it"))
    unreadable.gather()
    return unreadable.names(str)


def sharded(images: str, folder: Path) -> float:
    """The largest difference between weights trained by FSDP2 and by DDP, both with SyncBN."""
    words = [
        "train",
        "finetune",
        "--model.name",
        "cotnet20_nano",
        "--model.warmup_epochs",
        "0",
        "--data.root",
        images,
    ]
    words += ["--data.size", "8", "--data.batch_size", "2", "--data.num_workers", "0", "--trainer.max_epochs", "1"]
    words += ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.sync_batchnorm", "true"]
    words += ["--data.skip_unreadable", "1"]
    for strategy in ("ddp", "fsdp2"):
        assert main([*words, "--trainer.strategy", strategy, "--runs", str(folder / strategy)]) == 0
        dist.barrier()
    one, other = (load_file(folder / name / "finetune/1/weights.safetensors") for name in ("ddp", "fsdp2"))
    return max(float((one[name].double() - other[name]).abs().max()) for name in one)


def commands(images: str, folder: Path) -> None:
    """Train with SyncBN, accumulation and a moving average, then validate and predict."""
    network = ["--model.name", "cotnet20_nano", "--model.warmup_epochs", "0", "--model.ema_decay", "0.5"]
    data = ["--data.root", images, "--data.size", "8", "--data.batch_size", "1", "--data.num_workers", "0"]
    trainer = ["--trainer.accelerator", "cpu", "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    trainer += [
        "--trainer.sync_batchnorm",
        "true",
        "--trainer.accumulate_grad_batches",
        "3",
        "--trainer.max_epochs",
        "1",
    ]
    assert main(["train", "finetune", *network, *data, *trainer, "--runs", str(folder / "runs")]) == 0
    dist.barrier()  # the first process writes the weights when the others are done
    weights = str(folder / "runs" / "finetune" / "1" / "weights.safetensors")
    plain = ["--num-workers", "0", "--output"]
    assert (
        main(["validate", weights, images, "--format", "json", "--batch-size", "2", *plain, f"{folder}/scores.json"])
        == 0
    )
    words = ["predict", weights, f"{images}/val", "--format", "csv", "--topk", "1", "--batch-size", "3", *plain]
    assert main([*words, f"{folder}/answers.csv"]) == 0


if __name__ == "__main__":
    torch.set_num_threads(1)
    dist.init_process_group("gloo")
    folder = Path(sys.argv[2])
    found = {"sync": difference(True), "plain": difference(False), "averaged": averaged(), "skipped": skipped()}
    found["sharded"] = sharded(sys.argv[1], folder)
    if int(os.environ["RANK"]) == 0:
        (folder / "found.json").write_text(json.dumps(found))
    commands(sys.argv[1], folder)
    dist.destroy_process_group()
