"""The command line, run in this process."""

import pytest

from cotnet.cli import main


@pytest.fixture
def cotnet_command(capfd):
    """Runs `cotnet ...` in this process and gives exit status, standard output and standard error."""

    def run(*words):
        status = main([str(word) for word in words])
        return status, *capfd.readouterr()

    return run
