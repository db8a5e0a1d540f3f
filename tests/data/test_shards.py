"""Shards hold what their source holds, are read by every process and worker exactly once, and resume anywhere."""

import io
import json
import shutil
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from cotnet.cli import main
from cotnet.data import ImageFolder, WebShards
from cotnet.data.shards.index import INDEX, Shard, ShardIndex, portion
from cotnet.data.shards.stream import read_shard
from cotnet.data.shards.writer import write_shards
from cotnet.files.image import UnreadableImageError

TRAIN, VAL = 22, 7


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A folder of images whose one colour says which of the split it is."""
    root = tmp_path_factory.mktemp("source")
    for split, count in (("train", TRAIN), ("val", VAL)):
        for index in range(count):
            folder = root / split / ("ash", "birch")[index % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((8, 8, 3), 10 * index, np.uint8)).save(folder / f"{index}.png")
    return root


@pytest.fixture(scope="module")
def folder(source, tmp_path_factory):
    place = tmp_path_factory.mktemp("made") / "shards"
    write_shards(ImageFolder(str(source)), place, per_shard=4, say=lambda line: None)
    return place


def data(folder, **options) -> WebShards:
    plain = {"size": 8, "batch_size": 3, "num_workers": 0, "augment": "none", "crop_pct": 1.0, "shuffle": 4}
    found = WebShards(str(folder), **{**plain, "mean": (0, 0, 0), "std": (1 / 25.5,) * 3, **options})
    found.setup()
    return found


def numbers(loader) -> list[list[int]]:
    """Which images each batch holds, by their colour."""
    return [[round(float(image.mean())) for image in images] for images, _ in loader]


def test_the_index_counts(folder):
    index = ShardIndex.from_json((folder / INDEX).read_text(), name="it")
    assert index.classes == ["ash", "birch"]
    assert [shard.images for shard in index.splits["train"]] == [4, 4, 4, 4, 4, 2]
    assert index.per_class == {"train": [11, 11], "val": [4, 3]}
    assert all((folder / shard.name).stat().st_size == shard.bytes for shard in index.splits["val"])


def test_images_are_copied_as_they_are(source, folder):
    stored = {sample["png"] for shard in sorted(folder.glob("train-*")) for sample in read_shard(str(shard))}
    assert stored == {path.read_bytes() for path in (source / "train").rglob("*.png")}


@pytest.mark.parametrize(("readers", "shards"), [(1, 6), (3, 6), (6, 6), (7, 6), (20, 2)])
def test_portions_hold_every_image_once(readers, shards):
    counts, seen = [4 + number % 3 for number in range(shards)], []
    for reader in range(readers):
        own = portion(counts, range(shards), readers=readers, reader=reader)
        images = [(shard, index) for shard in own.shards for index in range(counts[shard])][own.first :: own.step]
        assert len(images) == own.images
        seen += images
    assert sorted(seen) == [(shard, index) for shard in range(shards) for index in range(counts[shard])]


@pytest.mark.parametrize(("world_size", "num_workers"), [(1, 0), (2, 0), (1, 2), (3, 1)])
def test_validation_serves_every_image_once(folder, world_size, num_workers):
    module, seen = data(folder), []
    for rank in range(world_size):
        stream = module.val_set.stream(world_size=world_size, rank=rank)
        loader = module.stream_loader(stream, lambda: 0)
        if num_workers:
            module.num_workers = num_workers
            loader = module.stream_loader(stream, lambda: 0)
        batches = numbers(loader)
        assert len(batches) == len(loader)
        seen += flat(batches)
    assert sorted(seen) == list(range(VAL))


def flat(batches: list[list[int]]) -> list[int]:
    return [number for batch in batches for number in batch]


def training(module, *, world_size=1, rank=0, epoch=0):
    stream = module.train_set.stream(
        batches=TRAIN // 3 // world_size, world_size=world_size, rank=rank, shuffle=module.shuffle
    )
    return module.stream_loader(stream, lambda: epoch)


def test_every_process_trains_on_as_many_batches_and_on_images_of_its_own(folder):
    shares = [flat(numbers(training(data(folder), world_size=2, rank=rank))) for rank in range(2)]
    assert [len(share) for share in shares] == [9, 9]
    assert not set(shares[0]) & set(shares[1])


def test_epochs_are_mixed_anew_and_the_same_again(folder):
    first, again, next_one = (numbers(training(data(folder), epoch=epoch)) for epoch in (0, 0, 1))
    assert first == again != next_one
    assert flat(first) != sorted(flat(first))


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("served", [1, 3, 4])
def test_goes_on_at_any_batch(folder, num_workers, served):
    module = data(folder, num_workers=num_workers)
    whole = numbers(training(module))
    stopped, resumed = training(module), training(module)
    batches = iter(stopped)
    for _ in range(served):
        next(batches)
    resumed.load_state_dict(stopped.state_dict())
    assert numbers(resumed) == whole[served:]
    assert numbers(resumed) == whole, "the epoch after a resumed one is whole"


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_images_of_a_batch_are_known_by_key_and_shard(folder, num_workers):
    module = data(folder, num_workers=num_workers)
    colours = {}
    for shard in sorted(folder.glob("train-*")):
        for sample in read_shard(str(shard)):
            with Image.open(io.BytesIO(sample["png"])) as image:
                colours[f"{sample['__key__']} of {shard}"] = image.getpixel((0, 0))[0] // 10
    for epoch in range(2):
        for batch, (images, _) in enumerate(module.train_dataloader()):
            named = [colours[name] for name in module.batch_names(epoch, batch)]
            assert named == [round(float(image.mean())) for image in images]
    assert module.batch_names(1, 100) == []


@pytest.fixture
def broken(folder, tmp_path):
    """The shards, with a training and a validation image that cannot be read, and what these are called."""
    names = []
    for path in folder.iterdir():
        shutil.copy(path, tmp_path)
    for name in ("train-000002.tar", "val-000000.tar"):
        content = bytearray((tmp_path / name).read_bytes())
        with tarfile.open(tmp_path / name) as archive:
            member = [one for one in archive.getmembers() if one.name.endswith(".png")][1]
        content[member.offset_data : member.offset_data + 8] = b"no image"
        (tmp_path / name).write_bytes(content)
        names.append(f"{member.name.split('.')[0]} of {tmp_path / name}")
    return tmp_path, names


def test_an_unreadable_image_is_named_by_key_and_shard(broken):
    place, (name, _) = broken
    with pytest.raises(ValueError, match=f"^cannot read the image {name}: it is not an image; repair"):
        numbers(data(place).train_dataloader())


@pytest.mark.parametrize("num_workers", [0, 2])
def test_unreadable_images_within_the_budget_are_skipped_and_named(broken, num_workers):
    place, names = broken
    module = data(place, num_workers=num_workers, skip_unreadable=1)
    module.check_images()
    for epoch in range(3):
        assert len(numbers(training(module, epoch=epoch))) == TRAIN // 3
    assert len(flat(numbers(module.val_dataloader()))) == VAL - 1
    assert module.skipped() == names
    again = data(place, num_workers=num_workers, skip_unreadable=1)
    again.load_state_dict(module.state_dict())
    assert again.skipped() == names
    with pytest.raises(ValueError, match=r"cannot read .*; data\.skip_unreadable 1 allows no more"):
        module.train_set.unreadable.skip(0, UnreadableImageError("cannot read it"))


@pytest.mark.parametrize("served", [1, 4, 6])
def test_goes_on_at_any_batch_after_an_unreadable_image(broken, served):
    place, _ = broken
    module = data(place, skip_unreadable=1)
    whole = numbers(training(module))
    module, resumed = (data(place, skip_unreadable=1) for _ in range(2))
    stopped, rest = training(module), training(resumed)
    batches = iter(stopped)
    for _ in range(served):
        next(batches)
    resumed.load_state_dict(module.state_dict())
    rest.load_state_dict(stopped.state_dict())
    assert numbers(rest) == whole[served:]


def test_a_reader_without_a_readable_image_does_not_read_for_ever(broken):
    place, _ = broken
    index = json.loads((place / INDEX).read_text())
    for shard in index["splits"]["train"][:-1]:
        with tarfile.open(place / shard["name"], "w") as archive:
            for number in range(shard["images"]):
                for name, content in ((f"{number}.png", b"no image"), (f"{number}.cls", b"0")):
                    entry = tarfile.TarInfo(name)
                    entry.size = len(content)
                    archive.addfile(entry, io.BytesIO(content))
    module = data(place, skip_unreadable=21, batch_size=1)
    streams = [
        training(module, world_size=6, rank=rank) for rank in range(2)
    ]  # one of them may have the shard left over
    with pytest.raises(ValueError, match=r"no image can be read in the shards of one reader, such as .*\.tar"):
        list(map(numbers, streams))


def test_reads_from_a_command(folder):
    module = data(folder, url=f"pipe:cat {folder}/{{name}}")
    assert module.val_set.name(4).endswith(f" of pipe:cat {folder}/val-000001.tar")
    assert not module.val_set.name(4).startswith("number")
    assert sorted(flat(numbers(module.val_dataloader()))) == list(range(VAL))


@pytest.mark.skipif(shutil.which("curl") is None, reason="webdataset reads the web through curl, which is absent")
def test_reads_from_the_web(folder):
    handler = partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        module = data(f"http://127.0.0.1:{server.server_port}")
        assert sorted(flat(numbers(module.val_dataloader()))) == list(range(VAL))
        with pytest.raises(ValueError, match=r"cannot read http.*nowhere/index\.json"):
            data(f"http://127.0.0.1:{server.server_port}/nowhere")
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def test_reads_through_fsspec(folder):
    import fsspec

    store = fsspec.filesystem("memory")
    for path in folder.iterdir():
        store.pipe(f"/bucket/{path.name}", path.read_bytes())
    module = data("memory://bucket")
    assert sorted(flat(numbers(module.val_dataloader()))) == list(range(VAL))


def test_what_is_wrong_is_named(folder, tmp_path):
    with pytest.raises(ValueError, match=r"cannot read .*nowhere/index\.json"):
        data(tmp_path / "nowhere")
    (tmp_path / INDEX).write_text("{}")
    with pytest.raises(ValueError, match="is not an index of shards"):
        data(tmp_path)
    plain = json.loads((folder / INDEX).read_text())
    plain["splits"]["val"][0]["name"] = "pipe:rm -rf x"
    (tmp_path / INDEX).write_text(json.dumps(plain))
    with pytest.raises(ValueError, match=r"a shard must be the name of a \.tar file, got 'pipe"):
        data(tmp_path)
    with pytest.raises(ValueError, match=r"data\.url must hold \{name\}"):
        data(folder, url="pipe:cat x")


def test_too_few_images_for_every_process_are_refused_once_their_number_is_known(folder):
    module = data(folder, batch_size=8)
    module.trainer = SimpleNamespace(world_size=3, global_rank=0)
    with pytest.raises(ValueError, match=r"batch_size 8 in each of 3 processes .* 22 training .*batch_size 7 or less"):
        module.setup("fit")
    module = data(folder, num_workers=12)
    module.trainer = SimpleNamespace(world_size=2, global_rank=0)
    with pytest.raises(ValueError, match=r"workers 12 in each of 2 processes .* 22 training .*workers 11 or less"):
        module.setup("fit")


def test_a_truncated_and_a_short_shard_are_named(folder, tmp_path):
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    shard = tmp_path / "val-000000.tar"
    shard.write_bytes(shard.read_bytes()[:1500])
    with pytest.raises(ValueError, match=r"val-000000\.tar"):
        numbers(data(tmp_path).val_dataloader())
    module = data(folder)
    module.index.splits["train"][-1] = Shard("train-000005.tar", 1, 0)
    with pytest.raises(ValueError, match=r"train-000005\.tar holds 2 images, its index says 1"):
        numbers(training(module))
    with tarfile.open(shard, "w") as archive:
        entry = tarfile.TarInfo("0.cls")
        entry.size = 1
        archive.addfile(entry, io.BytesIO(b"9"))
    with pytest.raises(ValueError, match=r"0 of .*val-000000\.tar must hold an image and a class from 0 to 1"):
        numbers(data(tmp_path).val_dataloader())


def test_the_command_writes_a_whole_folder_or_none(source, tmp_path, capsys):
    assert main(["shards", str(source), str(tmp_path / "made"), "--per-shard", "5"]) == 0
    assert "train: 22 images in 5 shards" in capsys.readouterr().out
    assert main(["shards", str(source), str(tmp_path / "made")]) == 2
    assert "exists; name a new folder" in capsys.readouterr().err
    (tmp_path / "half" / "train" / "ash").mkdir(parents=True)
    assert main(["shards", str(tmp_path / "half"), str(tmp_path / "none")]) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["half", "made"]


def test_shards_are_not_held_in_memory():
    with pytest.raises(ValueError, match=r"data\.in_memory does not go with shards.*use --data\.in_memory false"):
        WebShards("nowhere", in_memory=True, augment="none")
