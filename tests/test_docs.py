"""What the documentation names exists: links, files, Python names, commands and their options."""

import importlib
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SNAPSHOT = (Path(__file__).with_name("public_api.txt")).read_text()


def page_id(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


pytestmark = pytest.mark.parametrize("page", PAGES, ids=page_id)


def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#\s]*)(?:#[^)]*)?\)", page.read_text())
    broken = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert not broken


def test_named_files_exist(page):
    if page.name == "CHANGELOG.md":
        pytest.skip("a changelog names what has gone")
    text = re.sub(r"\[[^\]]*\]\([^)]*\)", "", page.read_text())
    named = re.findall(r"(?<![\w/.-])(?:src|tests|benchmarks|native|docs)/[\w./-]*\w", text)
    missing = [path for path in named if not (ROOT / path).exists()]
    assert not missing


def test_python_names_resolve(page):
    text = re.sub(r"https?://\S+", "", page.read_text())
    names = set(re.findall(r"(?<![\w/.-])cotnet(?:\.[A-Za-z_]\w*)+", text))
    files = {name for name in names if name.rpartition(".")[2] in ("safetensors", "onnx", "xml", "pt2", "pth", "json")}
    missing = sorted(name for name in names - files if not resolves(name))
    assert not missing


def resolves(name: str) -> bool:
    """Whether a dotted name is a module of ours or leads from one to an attribute."""
    parts = name.split(".")
    value, path = importlib.import_module("cotnet"), "cotnet"
    for part in parts[1:]:
        path = f"{path}.{part}"
        if not hasattr(value, part):
            try:
                importlib.import_module(path)
            except ModuleNotFoundError:
                return False
        value = getattr(value, part)
    return True


def test_options_are_those_of_the_commands(page):
    known = set(re.findall(r"^(\w+): (--[\w-]+)", SNAPSHOT, flags=re.MULTILINE))
    lines = page.read_text().replace("\\\n", " ").splitlines()
    unknown = []
    for line in lines:
        for command, words in re.findall(
            r"\bcotnet (validate|predict|export|bench|shards|models|view)\b([^`#]*)", line
        ):
            options = re.findall(r"(?<=\s)--[\w-]+", words)
            unknown += [f"{command} {option}" for option in options if (command, option) not in known]
    assert not unknown


def test_python_blocks_compile(page):
    for block in re.findall(r"```python\n(.*?)```", page.read_text(), flags=re.DOTALL):
        compile(block, page_id(page), "exec")
