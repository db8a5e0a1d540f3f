"""Everything in a folder is an image, followed, or counted."""

import os

import pytest

from cotnet.files.listing import SkippedFiles, images_below


def tree(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def listed(root):
    skipped = SkippedFiles()
    paths = [os.path.relpath(path, root) for path in images_below(str(root), skipped)]
    return paths, skipped


def test_images_are_in_the_order_of_their_names_at_every_depth(tmp_path):
    tree(tmp_path, "b.png", "a/2.jpg", "a/1.JPG", "a b.png", "c/d/e.tif", "a.png")
    paths, skipped = listed(tmp_path)
    assert paths == ["a/1.JPG", "a/2.jpg", "a b.png", "a.png", "b.png", "c/d/e.tif"]
    assert not skipped


def test_what_is_skipped_is_counted_by_ending(tmp_path):
    tree(tmp_path, "a.png", "1.txt", "2.TXT", "b.pdf", "c", ".DS_Store", "._a.png", "sub/x.txt", "y.heic")
    tree(tmp_path, ".ipynb_checkpoints/a-checkpoint.png", "__MACOSX/._a.png")
    paths, skipped = listed(tmp_path)
    assert paths == ["a.png"]
    assert str(skipped) == (
        "10 files skipped: 3 .txt, 2 hidden, 2 hidden folders, 1 .pdf, 1 without an ending, "
        "1 .heic (which pip install pillow-heif makes readable)"
    )


def test_one_file_is_not_files(tmp_path):
    assert str(listed(tree(tmp_path, "a.txt"))[1]) == "1 file skipped: 1 .txt"


def test_linked_folders_and_files_are_followed(tmp_path):
    tree(tmp_path / "elsewhere", "deep/x.png")
    tree(tmp_path / "other", "y.png")
    tree(tmp_path / "root", "a.png")
    (tmp_path / "root" / "link").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (tmp_path / "root" / "z.png").symlink_to(tmp_path / "other" / "y.png")
    assert listed(tmp_path / "root")[0] == ["a.png", "link/deep/x.png", "z.png"]


@pytest.mark.parametrize("target", [".", "..", "sub", "../root/sub"])
def test_links_back_into_the_folder_end(tmp_path, target):
    root = tree(tmp_path / "root", "sub/a.png")
    (root / "loop").symlink_to(target, target_is_directory=True)
    (root / "sub" / "again").symlink_to(root, target_is_directory=True)
    paths, skipped = listed(root)
    assert paths == ["sub/a.png"]
    assert str(skipped) == "2 files skipped: 2 links to folders that are searched anyway"


def test_links_that_lead_to_one_another_end(tmp_path):
    tree(tmp_path / "one", "a.png")
    tree(tmp_path / "two", "b.png")
    (tmp_path / "one" / "x").symlink_to(tmp_path / "two", target_is_directory=True)
    (tmp_path / "two" / "x").symlink_to(tmp_path / "one", target_is_directory=True)
    assert listed(tmp_path / "one")[0] == ["a.png", "x/b.png"]


def test_broken_links_and_special_files_are_counted(tmp_path):
    tree(tmp_path, "a.png")
    (tmp_path / "b.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "sub").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "c.png")
    paths, skipped = listed(tmp_path)
    assert paths == ["a.png"]
    assert str(skipped) == "3 files skipped: 2 broken links, 1 special files"


def test_a_folder_with_an_images_name_is_searched(tmp_path):
    assert listed(tree(tmp_path, "a.png/b.png"))[0] == ["a.png/b.png"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_a_folder_that_cannot_be_read_is_an_error(tmp_path):
    tree(tmp_path, "sub/a.png")
    (tmp_path / "sub").chmod(0)
    with pytest.raises(PermissionError):
        listed(tmp_path)
