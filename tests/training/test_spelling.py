"""What users of other tools write is answered with the right spelling."""

import re

import pytest

from cotnet.cli.train import run

FIELDS = [
    ("--epochs 10", "--trainer.max_epochs 10"),
    ("--epochs=10", "--trainer.max_epochs 10"),
    ("epochs=10", "--trainer.max_epochs 10"),
    ("embedded epochs=10", "--trainer.max_epochs 10"),
    ("trainer.max_epochs=10", "--trainer.max_epochs 10"),
    ("-e 10", "--trainer.max_epochs 10"),
    ("--max_epochs 10", "--trainer.max_epochs 10"),
    ("--trainer.epochs 10", "--trainer.max_epochs 10"),
    ("--lr 0.1", "--model.base_lr 0.1"),
    ("--optimizer.lr 0.1", "--model.base_lr 0.1"),
    ("--model.lr 0.1", "--model.base_lr 0.1"),
    ("--batch-size 8", "--data.batch_size 8"),
    ("-b 8", "--data.batch_size 8"),
    ("--data.batch 8", "--data.batch_size 8"),
    ("--workers 3", "--data.num_workers 3"),
    ("--imgsz 640", "--data.size 640"),
    ("--gpus 2", "--trainer.devices 2"),
    ("--trainer.gpus 2", "--trainer.devices 2"),
    ("--device cpu", "--trainer.accelerator cpu"),
    ("--device cuda:1", "--trainer.accelerator gpu --trainer.devices [1]"),
    ("--device 0,1", "--trainer.accelerator gpu --trainer.devices [0,1]"),
    ("--amp", "--trainer.precision 16-mixed"),
    ("--bf16", "--trainer.precision bf16-mixed"),
    ("--trainer.precision fp16", "16-mixed"),
    ("--trainer.precision bfloat16", "bf16-mixed"),
    ("--trainer.precision float32", "32-true"),
    ("--resume", "--ckpt_path last"),
    ("--resume runs/a/last.ckpt", "--ckpt_path runs/a/last.ckpt"),
    ("embedded resume", "--ckpt_path last"),
    ("embedded runs/a/last.ckpt", "--ckpt_path runs/a/last.ckpt"),
    ("embedded weights.pth", "--model.init_from weights.pth"),
    ("--weights weights.pth", "--model.init_from weights.pth"),
    ("--model.pretrained true", "--model.init_from WEIGHTS"),
    ("--seed 3", "--seed_everything 3"),
    ("--model cotnet50", "--model.name cotnet50"),
    ("--arch cotnet50", "--model.name cotnet50"),
    ("--val_check_interval 3", "--trainer.val_check_interval 3"),
    ("--wd 0.1", "--model.weight_decay 0.1"),
    ("cotnet50", "cotnet train finetune --model.name cotnet50"),
    ("resume", "cotnet train RECIPE --ckpt_path last"),
    ("images.npz", "cotnet train finetune --data NpzPack --data.path images.npz"),
    ("set.zip", "cotnet train detect_small --data.path set.zip"),
    ("last.ckpt", "cotnet train RECIPE --ckpt_path last.ckpt"),
    ("weights.safetensors", "cotnet train finetune --model.init_from weights.safetensors"),
    ("finetune --data x.npz", "--data NpzPack --data.path x.npz"),
    ("detect_small --data set.zip", "--data.path set.zip"),
    ("detect_small --data.root set", "--data.path set"),
    ("finetune --data.path images", "--data.root images"),
    ("--data.root images", "cotnet train finetune --data.root images"),
]


@pytest.mark.parametrize(("words", "meant"), FIELDS)
def test_the_right_spelling_is_given(words, meant):
    with pytest.raises(ValueError, match=rf"did you mean {re.escape(meant)}\b.*\?|did you mean {re.escape(meant)}\?"):
        run(words.split())


def test_a_folder_is_told_where_it_goes(tmp_path):
    for words, meant in (
        (["finetune", str(tmp_path)], f"--data.root {tmp_path}"),
        (["finetune", "--data", str(tmp_path)], f"--data.root {tmp_path}"),
        (["--data", str(tmp_path)], f"cotnet train finetune --data.root {tmp_path}"),
        ([str(tmp_path)], f"cotnet train finetune --data.root {tmp_path}"),
    ):
        with pytest.raises(ValueError, match=re.escape(f"did you mean {meant}")):
            run(words)
    (tmp_path / "train.json").write_text("{}")
    with pytest.raises(ValueError, match=r"cotnet train detect_small --data\.path"):
        run([str(tmp_path)])


@pytest.mark.parametrize("words", ["--num-classes 3", "--model.num_classes 3"])
def test_the_number_of_classes_is_not_a_field(words):
    with pytest.raises(ValueError, match=r"model\.num_classes follows from the data"):
        run(words.split())


def test_what_is_like_nothing_gets_the_general_answer():
    with pytest.raises(
        ValueError, match=r"unknown field --zebra; fields begin with --model\., --data\. or --trainer\."
    ):
        run(["--zebra", "3"])
