"""The words a notebook may use.

A notebook opens a session, surveys, plans, clears, applies, and looks again; what it shows starts with
`show_`. Everything that changes AWS goes through `apply`.
"""

import os

if "RUNBOOK_PROCESS" not in os.environ:  # the local mesh's own processes need no words, and start six times faster
    from runbook_lib.apply import apply, keep_or_put_back
    from runbook_lib.checks import check_environment, require_checks
    from runbook_lib.gates import (
        evidence_for_removal,
        evidence_for_retirement,
        evidence_for_shift,
        evidence_for_sidecars,
        evidence_for_step,
        evidence_of_path,
    )
    from runbook_lib.history import read_history
    from runbook_lib.plan import clear
    from runbook_lib.session import open_session
    from runbook_lib.shift import plan_steps, shift_traffic
    from runbook_lib.show import (
        show_changes,
        show_checks,
        show_credentials,
        show_done,
        show_evidence,
        show_forecast,
        show_history,
        show_kept,
        show_names,
        show_plan,
        show_resources,
        show_review,
        show_session,
        show_sidecars,
        show_split,
        show_steps,
        show_steps_taken,
        show_topology,
    )
    from runbook_lib.survey import survey
    from runbook_lib.undo import plan_undo
    from runbook_lib.widgets import follow_shift, show_progress, weights_panel

__all__ = [
    "apply",
    "check_environment",
    "clear",
    "evidence_for_removal",
    "evidence_for_retirement",
    "evidence_for_shift",
    "evidence_for_sidecars",
    "evidence_for_step",
    "evidence_of_path",
    "follow_shift",
    "keep_or_put_back",
    "open_session",
    "plan_steps",
    "plan_undo",
    "read_history",
    "require_checks",
    "shift_traffic",
    "show_changes",
    "show_checks",
    "show_credentials",
    "show_done",
    "show_evidence",
    "show_forecast",
    "show_history",
    "show_kept",
    "show_names",
    "show_plan",
    "show_progress",
    "show_resources",
    "show_review",
    "show_session",
    "show_sidecars",
    "show_split",
    "show_steps",
    "show_steps_taken",
    "show_topology",
    "survey",
    "weights_panel",
]
