"""What users of other tools write, and how it is spelt here."""

from collections.abc import Container
from pathlib import Path

# Field to the names that it has in timm, torchvision, ultralytics, Lightning and in plain speech. Where the recipe's
# classes lack a field, the next one with the same name serves.
_NAMES = {
    "trainer.max_epochs": "epochs epoch num_epochs n_epochs max_epoch e",
    "model.base_lr": "lr lr0 learning_rate blr",
    "data.batch_size": "batch batchsize bs b train_batch_size",
    "data.num_workers": "workers j num_worker n_workers",
    "data.size": "img_size imgsz image_size input_size resolution imsize crop_size",
    "model.sizes": "img_size imgsz image_size size",
    "data.root": "dir data_dir data_path dataset path images train folder source",
    "data.path": "dir data_dir data_path dataset root images folder source",
    "trainer.devices": "gpus gpu num_gpus n_gpus ngpus nproc_per_node num_devices",
    "trainer.accelerator": "device",
    "trainer.num_nodes": "nodes nnodes",
    "trainer.precision": "amp fp16 bf16 half mixed_precision dtype",
    "trainer.accumulate_grad_batches": "accumulate grad_accum grad_accum_steps accumulation accumulation_steps",
    "trainer.gradient_clip_val": "clip clip_grad grad_clip max_grad_norm",
    "trainer.sync_batchnorm": "sync_bn syncbn",
    "trainer.max_time": "time time_limit",
    "trainer.callbacks": "callback",
    "model.name": "arch architecture network net backbone model_name",
    "model.detector": "head architecture",
    "model.init_from": "weights pretrained initial_checkpoint init finetune load load_from pretrained_weights",
    "model.weight_decay": "wd decay",
    "model.warmup_epochs": "warmup",
    "model.label_smoothing": "smoothing",
    "model.drop_rate": "drop dropout",
    "model.drop_path_rate": "drop_path stochastic_depth",
    "model.ema_decay": "ema model_ema model_ema_decay",
    "model.optimizer": "opt",
    "model.freeze": "freeze_layers frozen",
    "model.grad_checkpointing": "gradient_checkpointing",
    "model.compile": "torchcompile torch_compile",
    "data.auto_augment": "aa autoaugment randaugment",
    "data.in_memory": "cache",
    "ckpt_path": "resume resume_from resume_from_checkpoint checkpoint ckpt",
    "runs": "output output_dir out out_dir save_dir log_dir project default_root_dir logdir",
    "seed_everything": "seed random_seed",
    "find_lr": "lr_find auto_lr_find lr_finder",
}
_VALUES = {
    "ckpt_path": "last",
    "model.init_from": "WEIGHTS",
    "trainer.precision": "16-mixed",
    "trainer.sync_batchnorm": "true",
}
_PRECISIONS = {
    "16-mixed": "fp16 float16 half amp mixed 16bit fp16-mixed true",
    "bf16-mixed": "bfloat16 bf16-amp",
    "32-true": "fp32 float32 float single full",
    "64-true": "fp64 float64 double",
}


def spelling(name: str, known: Container[str] | None = None, *, value: str | None = None) -> str | None:
    """How a field is spelt here, with its value, as words of the command line; None where nothing is like it.

    Args:
        name: What was written, with or without dashes and a group.
        known: The fields that there are; None where that is not known yet.
        value: What was given with it.
    """
    key = name.lstrip("-").replace("-", "_").lower().rpartition(".")[2]
    if key in ("num_classes", "classes", "nc"):
        return None
    fields = [field for field, names in _NAMES.items() if key in names.split()]
    fields += [field for field in _NAMES if key == field.rpartition(".")[2] and field not in fields]
    usable = [field for field in fields if known is None or field in known]
    if not usable:
        return None
    field = usable[0]
    if value is None or (field == "model.init_from" and value in ("true", "True", "1")):
        value = _VALUES.get(field)
    if value is None:
        return f"--{field}"
    if field == "trainer.precision":
        value = "bf16-mixed" if key == "bf16" else precision(value) or precision(key) or value
    return _device(value) if field == "trainer.accelerator" else f"--{field} {value}"


def precision(text: str) -> str | None:
    """Lightning's name of a precision that other tools call so, if one is meant."""
    return next((name for name, others in _PRECISIONS.items() if text.lower() in others.split()), None)


def stray(word: str, following: str | None = None) -> str:
    """What a word that belongs to no field was probably meant for, as a clause.

    Args:
        word: The word.
        following: The next one.
    """
    name, equals, value = word.partition("=")
    if equals or word.startswith("-"):
        spelt = spelling(name, value=value if equals else following)
        spelt = spelt or (f"--{name.lstrip('-')} {value}" if "." in name else None)
        if spelt is not None:
            return f"did you mean {spelt}?"
    if word == "resume":
        return "did you mean --ckpt_path last?"
    suffix = Path(word).suffix
    if suffix == ".ckpt":
        return f"did you mean --ckpt_path {word}, or --model.init_from {word}?"
    if suffix in (".safetensors", ".pth", ".pt", ".tar", ".bin"):
        return f"did you mean --model.init_from {word}?"
    if suffix in (".yaml", ".yml"):
        return f"did you mean --config {word}?"
    if is_place(word):
        return f"did you mean --data.root {word}, or --data.path {word} for a COCO set or a pack?"
    if word.startswith("-"):
        return "a field is --GROUP.FIELD VALUE, see cotnet train --help"
    return f"a field is --GROUP.FIELD VALUE; for a folder of images --data.root {word}"


def _device(value: str) -> str:
    kind, _, number = value.partition(":")
    if kind in ("cuda", "gpu"):
        return "--trainer.accelerator gpu" + (f" --trainer.devices [{number}]" if number.isdecimal() else "")
    if value.replace(",", "").isdecimal():
        return f"--trainer.accelerator gpu --trainer.devices [{value}]"
    return f"--trainer.accelerator {value}"


def is_place(text: str) -> bool:
    """Whether a word is a folder or a file, or looks more like one than like a name."""
    return Path(text).exists() or "/" in text or text.startswith((".", "~")) or text.endswith((".npz", ".zip", ".yaml"))
