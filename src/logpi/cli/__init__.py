"""The command line. A command's module, and with it torch, is imported when that command runs."""

from logpi.cli.app import main

__all__ = ["main"]
