"""Which approvals count: whose, under which rule, how many of them, until when."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runbook_lib.parameters.shift import Approvals
from runbook_lib.runs.approvers import Approvers, Given, counting, held_until, lacking, refusal

ADA = "arn:aws:iam::111122223333:user/ada"
GRACE = "arn:aws:sts::111122223333:assumed-role/Release/grace@example.org"
RELEASE = "arn:aws:sts::111122223333:assumed-role/Release/*"


def of(*, rehearsed: bool = False, at_work: tuple[str, ...] = (), **rule: Any) -> Approvers:
    return Approvers(Approvals.model_validate(rule), rehearsed, at_work)


def by(identity: str, approvers: Approvers, *, name: str = "somebody", until: float = 100.0) -> Given:
    return Given(name, identity, approvers.mark, until)


def test_without_more_said_anybodys_word_counts_stated_in_the_parameters_too() -> None:
    anybody = of(steps=[100])
    assert refusal(anybody, Given("ada", "", "", 100)) == ""
    assert held_until(anybody, [Given("ada", "", "", 100)]) == 100


@pytest.mark.parametrize("identity", [ADA, GRACE])
def test_who_is_listed_counts_a_star_standing_for_any_part(identity: str) -> None:
    listed = of(approvers=[ADA, RELEASE])
    assert refusal(listed, by(identity, listed)) == ""


def test_who_is_not_listed_does_not_whatever_name_is_given() -> None:
    listed = of(approvers=[ADA])
    assert refusal(listed, by(GRACE, listed, name=ADA)) == f"{GRACE} is not among shift.approvals.approvers"


def test_a_name_counts_where_the_file_takes_names_and_in_a_rehearsal() -> None:
    for approvers in (of(approvers=["ada"], identified_by="name"), of(approvers=["ada"], rehearsed=True)):
        assert refusal(approvers, by(GRACE, approvers, name="ada")) == ""
        assert refusal(approvers, by(GRACE, approvers, name="grace")) == "grace is not among shift.approvals.approvers"


def test_an_approval_that_no_identity_confirms_does_not_count_among_those_of_a_list() -> None:
    listed = of(approvers=[ADA])
    assert refusal(listed, Given("ada", "", "", 100)) == "no identity confirms it, and the file takes no names"


def test_who_is_at_work_may_be_left_out_but_not_in_a_rehearsal_where_everybody_is() -> None:
    rule: dict[str, Any] = {"exclude_starter": True, "at_work": (ADA,)}
    approvers = of(**rule)
    assert refusal(approvers, by(ADA, approvers)) == f"{ADA} is at work on the run, and may not approve it"
    assert refusal(approvers, by(GRACE, approvers)) == ""
    rehearsal = of(**rule, rehearsed=True)
    assert refusal(rehearsal, by(ADA, rehearsal)) == ""


@pytest.mark.parametrize(
    "changed",
    [
        {"approvers": [ADA, GRACE, RELEASE]},
        {"required": 3},
        {"exclude_starter": True},
        {"identified_by": "name"},
    ],
)
def test_an_approval_under_another_rule_is_void(changed: dict[str, Any]) -> None:
    rule: dict[str, Any] = {"approvers": [ADA, GRACE], "required": 2}
    before, after = of(**rule), of(**{**rule, **changed})
    given = by(ADA, before, name=ADA)
    assert counting(before, [given]) == [given]
    assert refusal(after, given) == "shift.approvals has changed since"


def test_when_it_runs_out_and_what_follows_may_be_changed() -> None:
    assert of(valid_minutes=5, on_expiry="hold").mark == of(valid_minutes=9, on_expiry="roll_back", steps=[5]).mark


def test_an_approver_counts_once_with_the_newest() -> None:
    two = of(required=2)
    earlier, later = by(ADA, two, until=50), by(ADA, two, until=90)
    assert counting(two, [earlier, later]) == [later]
    assert held_until(two, [earlier, later]) == 0
    assert held_until(two, [earlier, later, by(GRACE, two, until=70)]) == 70


def test_what_is_lacking_is_said() -> None:
    one, two = of(), of(required=2)
    assert lacking(one, [], now=10) == "there is none"
    assert lacking(one, [Given("ada", "", "", 5)], now=10) == "the one by ada ran out"
    assert lacking(two, [], now=10) == "2 are needed, and there is none"
    assert lacking(two, [by(ADA, two, name="ada")], now=10) == "2 are needed, and there is ada"
    listed = of(approvers=[GRACE])
    assert lacking(listed, [by(ADA, listed, name="ada")], now=10).startswith("the one by ada does not count: ")


@given(
    st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 9)), max_size=8),
    st.integers(1, 4),
    st.integers(0, 10),
)
def test_enough_hold_exactly_until_then(given: list[tuple[str, int]], required: int, now: int) -> None:
    approvers = of(required=required, identified_by="name")
    newest = dict(given)
    hold = [name for name, until in newest.items() if until > now]
    said = [Given(name, ADA, approvers.mark, until) for name, until in given]
    assert (held_until(approvers, said) > now) == (len(hold) >= required)
