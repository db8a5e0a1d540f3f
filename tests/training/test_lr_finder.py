"""A range test suggests a rate between the least and the diverging, draws it, and leaves nothing else."""

import numpy as np
import pytest
from PIL import Image

from cotnet.cli import main
from cotnet.cli.train import run
from cotnet.training.lr_finder import steepest, unbiased

TINY = ["--model.name", "cotnet20_nano", "--model.warmup_epochs", "0", "--data.size", "8", "--data.batch_size", "14"]
TINY += ["--data.train_per_class", "4", "--data.val_per_class", "1"]


def test_suggests_a_rate_and_draws_it(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    run([*TINY, "--find_lr", "range.png"])
    said = capsys.readouterr().out
    rate, base = (
        float(word) for word in (said.split("rate of ")[1].split(":")[0], said.split("base_lr ")[1].split()[0])
    )
    assert 1e-5 < rate < 10
    assert base == pytest.approx(rate * 256 / 14, rel=0.02)
    with Image.open("range.png") as image:
        assert image.width > 300
    assert [path.name for path in tmp_path.iterdir()] == ["range.png"]


@pytest.mark.parametrize(
    ("file", "message"), [("range.jpg", "must name a .png file"), ("no/range.png", "make it first")]
)
def test_a_image_that_cannot_be_written_is_named_first(file, message):
    with pytest.raises((ValueError, OSError), match=message):
        run([*TINY, "--find_lr", file])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (["--ckpt_path", "last"], "--find_lr does not resume from a checkpoint: leave out --ckpt_path"),
        (["--trainer.strategy", "fsdp2"], "--find_lr cannot put sharded weights back: use --trainer.strategy ddp"),
    ],
)
def test_what_a_range_test_cannot_do_is_refused(tmp_path, capfd, fields, message):
    words = ["train", *TINY, "--find_lr", str(tmp_path / "range.png"), "--trainer.accelerator", "cpu"]
    assert main([*words, "--trainer.devices", "1", *fields]) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert message in line
    assert not list(tmp_path.iterdir())


def test_one_batch_is_learnt_by_heart(tmp_path):
    """The usual check of a new network or data set: whatever cannot learn one batch cannot learn."""
    fields = ["--trainer.overfit_batches", "1", "--trainer.max_epochs", "12", "--data.augment", "none"]
    fields += ["--trainer.check_val_every_n_epoch", "12", "--model.base_lr", "2", "--model.weight_decay", "0"]
    run([*TINY, *fields, "--model.label_smoothing", "0", "--runs", str(tmp_path)])
    rows = (tmp_path / "embedded" / "1" / "metrics.csv").read_text().splitlines()
    last = dict(zip(rows[0].split(","), rows[-1].split(","), strict=True))
    assert float(last["train_top1"]) == 1.0


def test_the_smoothing_is_mended_and_the_steepest_fall_found():
    """Lightning's formula on known losses: constant ones come out constant, a fall where it is."""
    rates = np.geomspace(1e-4, 1, 60)
    for true in (np.full(60, 2.0), np.where(np.arange(60) < 30, 2.0, 1.0)):
        average, smoothed = 0.0, []
        for step, loss in enumerate(true, 1):
            average = 0.98 * average + 0.02 * loss
            smoothed.append(average / (1 - 0.98 ** (step + 1)))
        mended = unbiased(np.array(smoothed))
        assert mended[0] == pytest.approx(2.0)
        if true[-1] == 2.0:
            assert mended == pytest.approx(2.0)
            assert steepest(rates, np.round(mended, 9)) is None
        else:
            assert rates[28] <= steepest(rates, mended) <= rates[32]
