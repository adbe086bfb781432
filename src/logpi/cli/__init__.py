"""The command line. A command's own module, and with it torch, is imported only when that command runs."""

from logpi.cli.app import main

__all__ = ["main"]
