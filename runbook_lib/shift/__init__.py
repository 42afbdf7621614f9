"""Move the traffic from the stable service to the canary, one step at a time.

`step` decides what follows from a look, and is pure; so are `counts`, what was counted
so far, and `steps`, which steps are left. `looking` reads, `rolling_back` writes the
rollback, and `shifting` is the recipe: look, decide, write, wait, tell.
"""

from runbook_lib.shift.shifting import (
    go_back,
    obstacle_by_hand,
    plan_steps,
    require_ours,
    shift_traffic,
    take_step,
)
from runbook_lib.shift.steps import steps_left

__all__ = [
    "go_back",
    "obstacle_by_hand",
    "plan_steps",
    "require_ours",
    "shift_traffic",
    "steps_left",
    "take_step",
]
