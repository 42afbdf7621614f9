"""Move the traffic from the stable service to the canary, one step at a time.

`shifting` has what others call, `under_way` the order of a shift: `writing` writes a
step, `observing` looks at it until it passes, `stopping` ends it where it does not.
`rules` decides what follows from a look, and is pure; `process` lets a shift outlive
whoever started it.
"""

from runbook_lib.shift.requirements import require_ours
from runbook_lib.shift.rules.steps import steps_left
from runbook_lib.shift.shifting import (
    go_back,
    obstacle_by_hand,
    plan_steps,
    shift_traffic,
    take_step,
)

__all__ = [
    "go_back",
    "obstacle_by_hand",
    "plan_steps",
    "require_ours",
    "shift_traffic",
    "steps_left",
    "take_step",
]
