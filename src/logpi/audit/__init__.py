"""The exact audit of gradient estimators: `logpi.audit(recipe, world=...)`.

The package can be called, like `logpi.train`. Its attributes are `sampled` (the same figures with
confidence intervals, where enumeration is too large), `loss` (anyone's loss), `worst_case` (where a
recipe is worst), and `claims` (the facts that the documentation quotes).

>>> from logpi import audit
>>> from logpi.worlds.mdp.zoo import bandit
>>> print(audit("rloo", bandit([0.0, 5.0, 0.5], policy=[0.5, 0.4, 0.1]), group_size=2).verdict)
Unbiased: its mean is the gradient of the return.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from logpi.audit import claims
    from logpi.audit.adversary import worst_case
    from logpi.audit.calls import audit, loss, sampled
    from logpi.audit.report import AuditReport

__all__ = ["AuditReport", "audit", "claims", "loss", "sampled", "worst_case"]

_HOME = {
    "AuditReport": "logpi.audit.report",
    "audit": "logpi.audit.calls",
    "loss": "logpi.audit.calls",
    "sampled": "logpi.audit.calls",
    "worst_case": "logpi.audit.adversary",
}


def __getattr__(name: str) -> Any:
    """The public name, from the module that defines it."""
    if name == "claims":
        return import_module("logpi.audit.claims")
    if name not in _HOME:
        raise AttributeError(f"logpi.audit has no {name!r}. It has: {', '.join(__all__)}.")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


class _Audit(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return import_module("logpi.audit.calls").audit(*args, **kwargs)


sys.modules[__name__].__class__ = _Audit
