"""The `cotnet` command: parse, call, print. Nothing heavy is loaded before a command needs it."""

from cotnet.cli.main import main

__all__ = ["main"]
