"""Check what a load balancer needs before anything is changed: its part of notebook
00. It only reads.
"""

from __future__ import annotations

from collections.abc import Iterator

from runbook_lib.aws.reads import Reads
from runbook_lib.engines.alb import place
from runbook_lib.engines.alb.building import accepting, attaching, preflight
from runbook_lib.engines.alb.gates import gates, read_tags
from runbook_lib.engines.alb.groups import Group, read_groups
from runbook_lib.engines.alb.trial import read_trial
from runbook_lib.engines.protocol import Check, Finding, Look
from runbook_lib.errors import CallError

# how the tags of those begin that write the weights again when next deployed
TEMPLATES = ("aws:cloudformation:",)
LONG_SECONDS = 60  # of a deregistration delay


def serves(session: Reads) -> Finding:
    """Return whether Elastic Load Balancing answers now, and what it says."""
    try:
        state = session.read(place.rule_reading(session.parameters))
    except CallError as error:
        return Finding(False, error.message)
    if place.is_made(session.parameters):
        return Finding(True, "Elastic Load Balancing serves")
    there = "" if state else ", and has no such rule"
    return Finding(
        bool(state),
        f"Elastic Load Balancing serves{there}",
        "name a rule of this account in alb.rule",
    )


def checks(look: Look) -> Iterator[Check]:
    """Yield every check of a load balancer's own."""
    if not (look.parameters.rehearsed or accepting.VERIFIED_BY):
        words = "this engine was not verified on a live account: docs/alb.md"
        hint = "runbook accept asks AWS, in an account for trials"
        yield Check("WARN", "what AWS answers", words, hint)
    if look.lifecycle.retired.intersection(look.parameters.shift.versions):
        yield Check("PASS", look.split.key, look.split.as_written)
        return
    if place.is_made(look.parameters):
        yield from preflight.checks(look)
        if not attaching.is_done(look):
            return
    for gate in gates(look, "shift"):
        finding = gate.look(look)
        if finding.holds is False:
            yield Check("FAIL", gate.name, finding.found, finding.hint)
        else:
            yield Check("PASS", gate.name, finding.found)
    for group in look.once(read_groups).values():
        yield from _group(look, group)
    yield from _owners(look)
    if read_trial(look.reads) is not None:
        words = "one is under way, or was left behind: its requests reach the canary"
        hint = "05 ends it before it begins, and so does runbook rollback"
        yield Check("WARN", "trial", words, hint)


def _group(look: Look, group: Group) -> Iterator[Check]:
    if not group.said:
        return
    version = group.said.get("ProtocolVersion", "HTTP1")
    protocol = look.parameters.protocol
    if (version == "GRPC") != (protocol == "grpc"):
        words = f"it speaks {version}; the file says protocol {protocol}"
        hint = "say in the file what it speaks: no 5XX counts what fails in gRPC"
        yield Check("FAIL", group.key, words, hint)
    if group.delay_seconds > LONG_SECONDS:
        words = (
            f"deregistration delay {group.delay_seconds} s: 06 and each "
            "deployment wait for it"
        )
        hint = "as long as the longest request is enough"
        yield Check("WARN", group.key, words, hint)


def _owners(look: Look) -> Iterator[Check]:
    templates = [key for key in read_tags(look) if key.startswith(TEMPLATES)]
    if templates:
        words = (
            f"the rule carries {templates[0]}: its next deployment writes the "
            "weights of its template"
        )
        hint = "deploy nothing of it during the shift; then say the new weights"
        yield Check("WARN", "owner of the rule", words, hint)
