import pytest

from cotnet.training import next_folder


def test_run_folders_count_up(tmp_path):
    assert next_folder(tmp_path / "runs", "mine") == tmp_path / "runs" / "mine" / "1"
    (tmp_path / "runs" / "mine" / "7").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "notes").mkdir()
    assert next_folder(tmp_path / "runs", "mine").name == "8"


def test_a_place_where_none_can_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"no run folder can be made in .*file'; name another place by --runs"):
        next_folder(tmp_path / "file", "mine")
