"""What is known of a credit, coefficient or averaging without calling it: name, and what it reads.

A run needs this before it starts: a reference policy is loaded only if somebody reads `logp_ref`,
and a decision may be left out of the forward pass only if its coefficient is known to be
proportional to a credit of 0.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar, cast
from weakref import WeakKeyDictionary

__all__ = [
    "Traits",
    "factory",
    "fitting",
    "made_of",
    "name_of",
    "preferring",
    "traits",
    "traits_of",
]

P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Traits:
    """A function's name with constants, the signals it reads, whether it scales with credit."""

    name: str
    reads: frozenset[str] = frozenset()
    proportional: bool = False  # coefficient = credit · something: 0 wherever the credit is 0
    whole_row: bool = False  # reads the log-probabilities of the whole row
    beta: float | None = None  # the weight of the reference policy, where one is read
    # what its critic is fitted to, where that is not value + credit
    target: Callable[[Any], Any] | None = None
    # [n] of a coefficient of pairs: by how many nats the chosen row leads, as the method counts
    margin: Callable[[Any], Any] | None = None
    # the credit that this one is made of, and how: the critic is fitted as that one's is
    made_of: tuple[Callable[[Any], Any], Callable[[Any, Any], Any]] | None = None


_TRAITS: WeakKeyDictionary[Callable[..., Any], Traits] = WeakKeyDictionary()


def traits_of(function: Callable[..., Any]) -> Traits:
    """The traits of a function; one never described has its name and reads nothing special.

    >>> from logpi.core.coefficient import clipped_ratio
    >>> traits_of(clipped_ratio(low=0.2, high=0.28)).name
    'clipped_ratio(low=0.2, high=0.28)'
    """
    known = _TRAITS.get(function)
    return known if known is not None else Traits(getattr(function, "__name__", repr(function)))


def name_of(function: Callable[..., Any]) -> str:
    """The name of a function with its constants, as the table of recipes prints it.

    >>> from logpi.core.credit import gae
    >>> name_of(gae(lam=0.9))
    'gae(lam=0.9)'
    """
    return traits_of(function).name


def fitting(function: F, target: Callable[[Any], Any]) -> F:
    """The credit, whose critic is to be fitted to `target(signals)` instead of value + credit.

    >>> traits_of(fitting(lambda s: s.q, target=lambda s: s.reward)).target is not None
    True
    """
    _TRAITS[function] = replace(traits_of(function), target=target)
    return function


def preferring(function: F, margin: Callable[[Any], Any]) -> F:
    """The coefficient, whose pairs are in the right order where `margin(signals)` is above 0.

    >>> traits_of(preferring(lambda s: s.credit, margin=lambda s: s.reward)).margin is not None
    True
    """
    _TRAITS[function] = replace(traits_of(function), margin=margin)
    return function


def made_of(base: F, change: Callable[[Any, Any], Any]) -> F:
    """The credit `change(signals, base(signals))`, whose critic is fitted as without the change.

    >>> from logpi.core.examples import signals
    >>> made_of(lambda s: s.reward, lambda s, x: 2 * x)(signals()).tolist()
    [[0.0, 2.0], [0.0, 4.0]]
    """

    def made(s: Any) -> Any:
        return change(s, base(s))

    function = cast("F", made)
    _TRAITS[function] = replace(traits_of(function), made_of=(base, change))
    return function


def traits(
    *, reads: tuple[str, ...] = (), proportional: bool = False, whole_row: bool = False
) -> Callable[[F], F]:
    """A decorator that describes a plain function.

    >>> @traits(reads=("q",))
    ... def action_value(s): ...
    >>> sorted(traits_of(action_value).reads)
    ['q']
    """

    def describe(function: F) -> F:
        known = traits_of(function)
        _TRAITS[function] = Traits(
            _name(function), frozenset(reads), proportional, whole_row, target=known.target
        )
        return function

    return describe


def factory(
    *, reads: tuple[str, ...] = (), proportional: bool = False, whole_row: bool = False
) -> Callable[[Callable[P, F]], Callable[P, F]]:
    """A decorator that describes what a factory returns, constants included.

    Arguments that are functions themselves pass their traits on: what they read is read, and a sum
    is proportional to the credit only if every term is.

    >>> @factory(reads=("logp_ref",))
    ... def pull(beta=0.1):
    ...     return lambda s: beta * s.logp_ref
    >>> traits_of(pull(beta=0.5)).name
    'pull(beta=0.5)'
    """

    def decorate(make: Callable[P, F]) -> Callable[P, F]:
        signature = inspect.signature(make)

        @wraps(make)
        def describe(*args: P.args, **kwargs: P.kwargs) -> F:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            function = make(*args, **kwargs)
            inner = [traits_of(a) for a in _flat(bound.arguments.values()) if callable(a)]
            beta = bound.arguments.get("beta") if "logp_ref" in reads else None
            own = Traits(
                f"{_name(make)}({_arguments(bound)})",
                frozenset(reads),
                proportional,
                whole_row,
                beta,
            )
            _TRAITS[function] = _with(own, traits_of(function), inner)
            return function

        return describe

    return decorate


def _with(own: Traits, known: Traits, inner: list[Traits]) -> Traits:
    """What a factory says of its function, what was said of it before, and what its terms say."""
    all_of = [own, *inner]
    return replace(
        own,
        reads=own.reads.union(*(one.reads for one in inner)),
        proportional=all(one.proportional for one in inner) if inner else own.proportional,
        whole_row=any(one.whole_row for one in all_of),
        beta=next((one.beta for one in all_of if one.beta is not None), None),
        target=known.target,
        margin=next((one.margin for one in (known, *inner) if one.margin is not None), None),
        made_of=known.made_of,
    )


def _name(function: Callable[..., Any]) -> str:
    return getattr(function, "__name__", repr(function))


def _flat(values: Iterable[object]) -> list[object]:
    return [x for v in values for x in _items(v)]


def _items(value: object) -> tuple[object, ...]:
    return cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,)


def _arguments(bound: inspect.BoundArguments) -> str:
    parts: list[str] = []
    known = cast("dict[str, object]", bound.arguments)
    for name, value in known.items():
        if isinstance(value, tuple):
            parts += [name_of(v) if callable(v) else repr(v) for v in _items(known[name])]
        elif callable(value):
            parts.append(name_of(value))
        else:
            parts.append(f"{name}={value!r}")
    return ", ".join(parts)
