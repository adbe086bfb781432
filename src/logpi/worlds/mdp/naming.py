"""What a state and an action are called."""

from __future__ import annotations

from logpi.worlds.mdp.model import FiniteMDP

__all__ = ["action_name", "state_name"]


def state_name(m: FiniteMDP, state: int) -> str:
    """The state's own name, else its cell on the grid, else its number.

    >>> from logpi.worlds.mdp.zoo import make
    >>> state_name(make("cliff"), 36)
    '(3, 0)'
    """
    layout = m.layout
    if layout.states:
        return layout.states[state]
    if layout.is_grid and state < layout.rows * layout.columns:
        return str(divmod(state, layout.columns))
    return f"s{state}"


def action_name(m: FiniteMDP, action: int) -> str:
    """The action's own name, else its number.

    >>> from logpi.worlds.mdp.zoo import make
    >>> action_name(make("cliff"), 0)
    'up'
    """
    return m.layout.actions[action] if m.layout.actions else f"a{action}"
