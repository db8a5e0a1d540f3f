"""Copies, pickles, threads and processes: nothing of a layer's or a fused network's work is the process's alone."""

import copy
import multiprocessing
import pickle
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
import torchvision
from torch import nn
from torch.utils.data import DataLoader, Dataset

import cotnet
from cotnet import local_aggregation
from tests.ecosystem.family import NETWORKS, PARTS, difference, image, part


@pytest.fixture
def _switching():
    """Threads take turns a thousand times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.parametrize("name", PARTS)
def test_copies_and_pickles(name):
    model, x = part(name), image(name)
    expected = model(x)
    for again in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert torch.equal(again(x), expected)
    replica = model._replicate_for_data_parallel()  # what DataParallel does with every module of a network
    for key, value in model._parameters.items():
        setattr(replica, key, value)
    assert torch.equal(replica(x), expected)


@pytest.mark.parametrize("name", ["cot", "basic", "hybrid"])
def test_replicas_of_data_parallel(name):
    model, x = part(name, train=True), image(name)
    replicas = {module: module._replicate_for_data_parallel() for module in model.modules()}
    for module, replica in replicas.items():
        for key, child in module.named_children():
            setattr(replica, key, replicas[child])
        for tensors in (module._parameters, module._buffers):
            for key, tensor in tensors.items():
                setattr(replica, key, tensor)
    replicas[model](x).square().mean().backward()
    gradients = [parameter.grad.clone() for parameter in model.parameters()]
    model.zero_grad()
    model(x).square().mean().backward()
    for parameter, gradient in zip(model.parameters(), gradients, strict=True):
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-3, rtol=1e-3)


@pytest.mark.usefixtures("_switching")
@pytest.mark.parametrize("name", ["cot", "coxt", "local_attention", "basic"])
def test_ten_threads(name):
    model, x = part(name, train=True), image(name)
    fused, models = cotnet.fuse(part(name)), [copy.deepcopy(model) for _ in range(10)]
    with torch.no_grad():
        answer = fused(x)
    model(x).square().mean().backward()

    def work(own):
        own(x).square().mean().backward()
        with torch.no_grad():
            return fused(x)

    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(work, models))
    assert all(torch.equal(one, answer) for one in answers)
    for own in models:
        for one, two in zip(own.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(one.grad, two.grad)


@pytest.mark.usefixtures("_switching")
def test_threads_that_fuse_while_others_run_networks():
    networks = [part(name) for name in NETWORKS] + [torchvision.models.resnet18().eval()]
    images = [image(name) for name in NETWORKS] + [torch.randn(1, 3, 32, 32)]
    call, getattribute = nn.Module.__call__, nn.Module.__getattr__
    with torch.no_grad():
        expected = [model(x) for model, x in zip(networks, images, strict=True)]

    def fuse(number):
        with torch.no_grad():
            return cotnet.fuse(networks[number])(images[number])

    def run(number):
        with torch.no_grad():
            return networks[number](images[number])

    numbers = [i % len(networks) for i in range(3 * len(networks))]
    with ThreadPoolExecutor(8) as pool:
        fused, answers = [pool.submit(fuse, i) for i in numbers], [pool.submit(run, i) for i in numbers]
    for i, one, two in zip(numbers, fused, answers, strict=True):
        assert difference(one.result(), expected[i]) < 1e-4
        assert torch.equal(two.result(), expected[i])
    assert nn.Module.__call__ is call
    assert nn.Module.__getattr__ is getattribute


def run_in_child(arguments):
    """Forward, backward and a fused layer; the results as lists, which need no shared memory."""
    model, x = copy.deepcopy(arguments)  # the processes would share what they are sent
    torch.set_num_threads(1)
    model.zero_grad()
    out = model.train()(x)
    out.square().mean().backward()
    with torch.no_grad():
        fused = cotnet.fuse(model.eval())(x)
    return out.tolist(), next(model.parameters()).grad.tolist(), fused.tolist()


def test_forked_processes_after_use():
    model, x = part("cot"), image("cot")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    expected = run_in_child((model, x))  # threads are there when the process forks
    torch.set_num_threads(before)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        for found in pool.map(run_in_child, [(model, x)] * 2):
            for one, two in zip(found, expected, strict=True):
                torch.testing.assert_close(torch.tensor(one), torch.tensor(two), atol=1e-5, rtol=1e-4)


class Aggregated(Dataset):
    """A data set that calls an operator and a layer for each of its items."""

    def __init__(self):
        self.layer, self.fused = part("cot"), cotnet.fuse(part("cot"))

    def __len__(self):
        return 4

    def __getitem__(self, index):
        generator = torch.Generator().manual_seed(index)
        value, weight = torch.randn(1, 32, 6, 5, generator=generator), torch.randn(1, 4, 9, 6, 5, generator=generator)
        with torch.no_grad():
            return local_aggregation(value, weight, 3)[0], self.layer(value)[0], self.fused(value)[0]


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_loader_workers_call_the_operators(method, monkeypatch, pytestconfig):
    monkeypatch.syspath_prepend(str(pytestconfig.rootpath))  # a spawned process imports this module by its name
    items = Aggregated()
    expected = [items[i] for i in range(len(items))]
    loader = DataLoader(items, num_workers=2 if method == "fork" else 1, multiprocessing_context=method)
    for found, item in zip(loader, expected, strict=True):
        for one, two in zip(found, item, strict=True):
            torch.testing.assert_close(one[0], two, atol=1e-5, rtol=1e-5)
