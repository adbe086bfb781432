"""The one training loop, its configuration and its run directory.

The package can be called: `logpi.train(recipe=..., world=...)` is `logpi.run.train`, whatever was
imported before. A plain function of that name would be replaced by the package at the first
`import logpi.train.loop`.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any


class _Train(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return import_module("logpi.run").train(*args, **kwargs)


sys.modules[__name__].__class__ = _Train
