"""Where results go: names that never meet, formats by name."""

import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotnet.cli.output import OutputNames, check_folder, output_format

STEMS = st.sampled_from(["a", "A", "a_2", "a_2_2", "é", "e\u0301", "É", "x" * 250, "x" * 251, ".b", "a.b", "ß", "ss"])


@given(st.lists(st.tuples(st.sampled_from(["p", "q"]), STEMS, st.sampled_from([".jpg", ".png", ""])), max_size=30))
def test_every_image_has_a_file_of_its_own(parts):
    names = OutputNames()
    given_names = [names(f"{folder}/{stem}{suffix}") for folder, stem, suffix in parts]
    assert len({name.casefold() for name in given_names}) == len(given_names)
    assert all(len(os.fsencode(name)) < 230 and "/" not in name for name in given_names)


def test_the_first_of_a_name_keeps_it():
    names = OutputNames()
    paths = ["p/a.jpg", "q/a.jpg", "q/a_2.jpg", "q/a.png", "A.jpg", os.fsdecode(b"\xff.jpg")]
    expected = ["a.png", "a_2.png", "a_2_2.png", "a_3.png", "A_4.png", os.fsdecode(b"\xff.png")]
    assert [names(path) for path in paths] == expected


def test_many_images_of_one_name_take_no_longer():
    names = OutputNames()
    assert len({names(f"{random.random()}/0001.jpg") for _ in range(20000)}) == 20000


@pytest.mark.parametrize(
    ("output", "given_format", "expected"),
    [
        (None, None, "table"),
        ("x.txt", None, "table"),
        ("x.csv", None, "csv"),
        ("x.JSON", None, "json"),
        ("x.csv", "table", "table"),
        ("csv", None, "table"),
        (None, "json", "json"),
    ],
)
def test_the_format_follows_the_name(output, given_format, expected):
    assert output_format(output, given_format, ("table", "csv", "json")) == expected


def test_a_folder_that_holds_an_input_is_refused(tmp_path):
    (tmp_path / "a.png").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path)
    for folder in (tmp_path, tmp_path / "link"):
        with pytest.raises(ValueError, match="would replace the input"):
            check_folder("draw", str(folder), inputs=[str(tmp_path / "a.png")])
    check_folder("draw", str(tmp_path / "new"), inputs=[str(tmp_path / "a.png")])
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    check_folder("draw", str(tmp_path), inputs=[str(tmp_path / "a.jpg")])
