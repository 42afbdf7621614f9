"""A bake that a person ends: how it goes on, what is written down, and when it is refused.

The rule itself, with plain values, is in tests/test_step.py.
"""

from __future__ import annotations

from typing import Any

import pytest

from runbook_lib.errors import GateError, Held, ParametersError
from runbook_lib.runs.history import doubt
from runbook_lib.runs.verify import steps_of, verify
from runbook_lib.shift import go_back, shift_traffic
from runbook_lib.shift.decision import Decision
from runbook_lib.shift.promoting import end_bake
from runbook_lib.survey import survey
from tests.live import CANARY, STABLE, Sky, again, ended, phases, quick, take, under_sky
from tests.scenes import fact, settle


def promote_now(sky: Sky) -> None:
    """End the bake of the step now, as `runbook promote` does from another process."""
    session = again(sky)
    run = session.latest_run()
    assert run is not None
    end_bake(survey(session), run, by="ada", because="the campaign begins")


def test_a_bake_is_ended_by_a_persons_decision_and_the_shift_goes_on_without_a_pass() -> None:
    session, sky = under_sky(shift=quick(bake_seconds=600))
    seen: list[Decision] = []
    for decision in shift_traffic(session, fact()):
        seen.append(decision)
        if decision.phase == "proved":
            promote_now(sky)
    assert phases(seen)[-6:] == ["written", "proved", "promoted", "written", "proved", "promoted"]
    assert sky.weights() == {STABLE: 0, CANARY: 100}
    assert {d.verdict for d in seen if d.phase == "promoted"} == {"INCONCLUSIVE"}
    run = session.latest_run()
    assert run is not None
    steps = steps_of(run.lines())
    assert [(step["verdict"], step["promoted"]) for step in steps] == [("INCONCLUSIVE", True)] * 2
    assert steps[0]["reason"].startswith("promoted: by ada, because the campaign begins; INCONCLUSIVE so far: ")
    assert [each.found for each in verify(run) if not each.holds] == []
    assert doubt(again(sky)).startswith("its last step, 100 %, has no PASS in the record: promoted: by ada")


def test_a_step_that_was_held_undecided_goes_on_once_it_is_promoted_and_for_that_step_alone() -> None:
    session, sky = under_sky(shift=quick(allow_unprovable=True, verdict={"detectable_increase": 0.01}), rate=8.0)
    _, words = ended(session, Held)
    assert "`runbook promote scene --rehearse --by NAME --because TEXT`, then run 05" in words
    promote_now(sky)
    seen, words = ended(again(sky), Held)
    assert "100 %" in words
    assert "promoted" in phases(seen)
    assert phases(seen)[-1] == "judged"
    assert sky.weights() == {STABLE: 0, CANARY: 100}


def refusal(error: type[Exception], **shift: Any) -> str:
    """Return in which words a promotion is refused while the canary bakes at 25 %."""
    session, sky = under_sky(shift=quick(**shift))
    take(session, until=lambda decision: decision.phase == "proved")
    if error is GateError:
        session._client("ecs").update_service(cluster=session.parameters.cluster, service=STABLE, desiredCount=0)
        settle()
    with pytest.raises(error) as caught:
        promote_now(sky)
    return str(caught.value)


def test_a_promotion_is_refused_where_the_file_says_never() -> None:
    assert "promote: the file says shift.promotion: never" in refusal(ParametersError, promotion="never")


def test_a_promotion_is_refused_while_a_gate_of_the_next_step_does_not_hold() -> None:
    assert "rollback possible: serviceB runs 0 of 1 task" in refusal(GateError)


def test_there_is_nothing_to_promote_before_a_step_and_after_a_rollback() -> None:
    session, sky = under_sky()
    take(session, until=lambda decision: decision.phase == "rehearsed")
    with pytest.raises(ParametersError, match="promote: no step is baking: serviceB 100 %"):
        promote_now(sky)
    take(again(sky), until=lambda decision: decision.phase == "proved")
    go_back(again(sky))
    with pytest.raises(ParametersError, match="promote: no step is baking"):
        promote_now(sky)


def test_a_promotion_says_who_and_why() -> None:
    session, sky = under_sky()
    take(session, until=lambda decision: decision.phase == "proved")
    run = session.latest_run()
    assert run is not None
    with pytest.raises(ParametersError, match="expected who decides it and why"):
        end_bake(survey(again(sky)), run, by="ada", because="")
