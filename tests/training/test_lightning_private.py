"""The private names of Lightning that training reaches for exist and mean what they did."""

import pytest
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EMAWeightAveraging
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.strategies import DDPStrategy, ModelParallelStrategy

from cotnet.training import lightning_private as private
from cotnet.training.sync_norm import SyncNorm

QUIET = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}


@pytest.fixture
def trainer(tmp_path):
    return Trainer(accelerator="cpu", devices=1, default_root_dir=tmp_path, check_val_every_n_epoch=2, **QUIET)


def test_the_buffers_of_ddp_are_kept_apart_unless_the_user_says_otherwise():
    for asked, expected in ({}, False), ({"broadcast_buffers": True}, True):
        strategy = DDPStrategy(**asked)
        private.keep_buffers_apart(strategy)
        assert strategy._ddp_kwargs["broadcast_buffers"] is expected


def test_a_sharded_state_is_saved_in_one_file():
    strategy = ModelParallelStrategy(save_distributed_checkpoint=True)
    private.save_in_one_file(strategy)
    assert strategy._save_distributed_checkpoint is False


def test_norms_are_replaced_in_our_way_where_they_are_to_be(tmp_path):
    trainer = Trainer(accelerator="cpu", devices=2, strategy="ddp", sync_batchnorm=True, **QUIET)
    assert private.layer_sync(trainer.strategy) is not None
    sync = SyncNorm(trainer.strategy.root_device)
    private.set_layer_sync(trainer.strategy, sync)
    assert private.layer_sync(trainer.strategy) is sync
    assert private.layer_sync(Trainer(accelerator="cpu", devices=2, strategy="ddp", **QUIET).strategy) is None


class Validations(Callback):
    """What is expected of each epoch as its last batch ends, and what comes."""

    def __init__(self):
        self.expected, self.came = [], []

    def on_train_batch_end(self, trainer, *arguments):
        self.expected.append(private.validates_this_epoch(trainer))
        self.came.append(False)

    def on_validation_start(self, trainer, pl_module):
        self.came[-1] = True


def test_an_epoch_with_a_validation_is_known(tmp_path):
    seen = Validations()
    options = {"max_epochs": 4, "limit_train_batches": 1, "limit_val_batches": 1, "check_val_every_n_epoch": 2}
    options |= {"num_sanity_val_steps": 0, "callbacks": [seen], "default_root_dir": tmp_path}
    Trainer(accelerator="cpu", devices=1, **options, **QUIET).fit(BoringModel())
    assert seen.expected == seen.came == [False, True, False, True]


def test_lower_limits_forbid_the_end(tmp_path):
    for least, allowed in (3, False), (None, True):
        trainer = Trainer(accelerator="cpu", devices=1, default_root_dir=tmp_path, min_epochs=least, **QUIET)
        assert private.may_stop(trainer) is allowed


def test_the_tuner_writes_where_it_is_told(trainer, tmp_path):
    private.set_root_folder(trainer, tmp_path / "elsewhere")
    assert trainer.default_root_dir == str(tmp_path / "elsewhere")


def test_the_average_is_known_once_there_is_one():
    callback = EMAWeightAveraging()
    assert private.average_of(callback) is None
    callback.setup(Trainer(accelerator="cpu", devices=1, **QUIET), BoringModel(), "fit")
    assert private.average_of(callback) is not None


def test_a_profiler_learns_of_the_module():
    profiler, module = PassThroughProfiler(), object()
    private.set_module_of(profiler, module)
    assert private.module_of(profiler) is module
