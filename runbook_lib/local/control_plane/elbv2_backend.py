"""Elastic Load Balancing of one account in one region: moto's, made true where the
runbook depends on it.

`LoadBalancers` checks what moto lets through, keeps the targets and their health by
itself, gives every resource an ARN that the same calls give again, and leaves all else
to moto. `install` puts it in moto's place; no account may have been used before.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from moto.elbv2.models import ELBv2Backend, elbv2_backends
from moto.elbv2.ssl_policies import SSL_POLICIES
from moto.moto_api._internal import mock_random

from runbook_lib.local.control_plane import (
    elbv2_actions,
    elbv2_settings,
    elbv2_transforms,
    identity,
)
from runbook_lib.local.control_plane.elbv2_refusals import refusal
from runbook_lib.local.control_plane.elbv2_targets import GroupTargets, Health, Settings
from runbook_lib.local.control_plane.elbv2_weights import groups_of

__all__ = ["LoadBalancers", "install"]

Members = dict[str, Any]

# of load balancers in us-west-2; elsewhere AWS has others
HOSTED_ZONE = "Z1H1FL5HABSF5"
ATTRIBUTES = {  # that every Application Load Balancer has, and moto does not tell
    "load_balancing.cross_zone.enabled": "true",
    "idle_timeout.timeout_seconds": "60",
    "client_keep_alive.seconds": "3600",
    "routing.http.preserve_host_header.enabled": "false",
    "routing.http2.enabled": "true",
}


@dataclass(frozen=True, slots=True)
class TargetHealth:
    """A target as moto's serializer takes it."""

    target: Members
    target_health: Members
    health_check_port: str


class LoadBalancers(ELBv2Backend):
    """The store; what is not overridden here is as moto has it."""

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.targets: dict[str, GroupTargets] = {}  # by group's ARN
        # what load balancers and groups were created with, by ARN
        self._asked: dict[str, Members] = {}
        self._made: Counter[str] = Counter()
        self._expected: dict[str, str] = {}  # ids that the next resources are to have

    # load balancers

    def create_load_balancer(
        self,
        name: str,
        security_groups: list[str],
        subnet_ids: list[str],
        subnet_mappings: list[dict[str, str]] | None = None,
        *rest: Any,
        **more: Any,
    ) -> Any:
        """Create one, or return the one that was asked for in the same words."""
        elbv2_settings.check_load_balancer_name(name)
        asked = {
            "groups": security_groups,
            "subnets": subnet_ids,
            "mappings": subnet_mappings,
            "rest": (rest, more),
        }
        for there in self.load_balancers.values():
            if there.name == name:
                what = f"load balancer with the same name '{name}'"
                return self._same(there, asked, "DuplicateLoadBalancerName", what)
        named = [
            *subnet_ids,
            *(mapping["SubnetId"] for mapping in subnet_mappings or []),
        ]
        zones = [self._subnet(subnet_id).availability_zone for subnet_id in named]
        elbv2_settings.check_zones(zones)
        if any(
            self.ec2_backend.get_security_group_from_id(group) is None
            for group in security_groups
        ):
            raise refusal(
                "InvalidConfigurationRequest", "One or more security groups are invalid"
            )
        with self._named("load balancer", name):
            made = super().create_load_balancer(
                name, security_groups, subnet_ids, subnet_mappings, *rest, **more
            )
        prefix = "internal-" if made.scheme == "internal" else ""
        number = identity.digits(10, made.arn)
        made.dns_name = f"{prefix}{name}-{number}.{self.region_name}.elb.amazonaws.com"
        made.canonical_hosted_zone_id = HOSTED_ZONE
        made.attrs |= ATTRIBUTES
        self._asked[made.arn] = asked
        return made

    def _subnet(self, subnet_id: str) -> Any:
        for zone in self.ec2_backend.subnets.values():
            if subnet_id in zone:
                return zone[subnet_id]
        # [inferred]
        raise refusal("SubnetNotFound", f"The subnet ID '{subnet_id}' does not exist")

    def _same(self, there: Any, asked: Members, code: str, what: str) -> Any:
        if self._asked.get(there.arn) == asked:
            return there
        raise refusal(code, f"A {what} exists, but with different settings")

    def delete_load_balancer(self, arn: str) -> None:
        """Delete one that is not protected; one that is gone is no error."""
        found = self.load_balancers.get(arn)
        if found and found.attrs.get("deletion_protection.enabled") == "true":
            words = (
                f"Load balancer '{arn}' cannot be deleted because deletion "
                "protection is enabled"
            )
            raise refusal("OperationNotPermitted", words)
        super().delete_load_balancer(arn)
        self._note_use()

    # target groups

    def create_target_group(self, name: str, **asked: Any) -> Any:
        """Create one, or return the one that was asked for in the same words."""
        elbv2_settings.check_protocol_version(asked.get("protocol_version"))
        elbv2_settings.check_matcher((asked.get("matcher") or {}).get("HttpCode"))
        kept = dict(asked)
        for there in self.target_groups.values():
            if there.name == name:
                what = f"target group with the same name '{name}'"
                return self._same(there, kept, "DuplicateTargetGroupName", what)
        with self._named("target group", name):
            made = super().create_target_group(name, **asked)
        self._asked[made.arn] = kept
        self.targets[made.arn] = GroupTargets()
        return made

    def delete_target_group(self, target_group_arn: str) -> Any:
        """Delete one that no rule names; one that is gone is no error."""
        if target_group_arn not in self.target_groups:
            return None
        if self._users_of(target_group_arn):
            words = (
                f"Target group '{target_group_arn}' is currently in use by a "
                "listener or a rule"
            )
            raise refusal("ResourceInUse", words)
        self.targets.pop(target_group_arn, None)
        return super().delete_target_group(target_group_arn)

    def describe_target_groups(
        self, load_balancer_arn: str | None, target_group_arns: Any, names: Any
    ) -> Any:
        """Describe groups; those of a load balancer that has none are none."""
        if (
            load_balancer_arn in self.load_balancers
            and not target_group_arns
            and not names
        ):
            used = [
                group
                for group in self.target_groups.values()
                if load_balancer_arn in group.load_balancer_arns
            ]
            return sorted(used, key=lambda group: group.name)
        return super().describe_target_groups(
            load_balancer_arn, target_group_arns, names
        )

    # listeners and rules

    def create_listener(
        self,
        load_balancer_arn: str,
        protocol: str,
        port: str,
        ssl_policy: str,
        certificate: str | None,
        actions: list[Members],
        alpn_policy: list[str] | None = None,
        tags: list[dict[str, str]] | None = None,
    ) -> Any:
        """Create one on a port that is free."""
        balancer = self.load_balancers.get(load_balancer_arn)
        if balancer and any(
            str(each.port) == str(port) for each in balancer.listeners.values()
        ):
            words = (
                "A listener already exists on this port for this load balancer "
                f"'{load_balancer_arn}'"
            )
            raise refusal("DuplicateListener", words)
        # moto has put its default there
        policy = ssl_policy if protocol == "HTTPS" else None
        is_there = not certificate or self._certificate_exists(certificate)
        elbv2_settings.check_certificates(
            protocol, certificate, policy, SSL_POLICIES, is_there=is_there
        )
        wanted = elbv2_actions.normal(actions)
        self._check_actions(wanted, protocol, load_balancer_arn)
        with self._named("listener", f"{load_balancer_arn}/{port}"):
            made = super().create_listener(
                load_balancer_arn,
                protocol,
                port,
                ssl_policy,
                certificate,
                wanted,
                alpn_policy,
                tags,
            )
        if protocol == "HTTP":
            made.ssl_policy = None  # type: ignore[assignment]
        rule = made._default_rule[0]
        rule.arn = (
            made.arn.replace(":listener/", ":listener-rule/")
            + "/"
            + identity.hexadecimal(16, made.arn)
        )
        self._note_use()
        return made

    def modify_listener(
        self,
        arn: str,
        port: str | None = None,
        protocol: str | None = None,
        ssl_policy: str | None = None,
        certificates: list[Members] | None = None,
        actions: list[Members] | None = None,
    ) -> Any:
        """Change one; its default actions are checked as a rule's are."""
        listener = self._listener(arn)
        wanted = elbv2_actions.normal(actions or [])
        if wanted:
            default = listener._default_rule[0].arn
            self._check_actions(
                wanted,
                protocol or listener.protocol,
                listener.load_balancer_arn,
                but=default,
            )
        changed = super().modify_listener(
            arn, port, protocol, ssl_policy, certificates, wanted
        )
        self._note_use()
        return changed

    def delete_listener(self, listener_arn: str) -> Any:
        """Delete one; its rules go with it."""
        gone = super().delete_listener(listener_arn)
        self._note_use()
        return gone

    def create_rule(
        self,
        listener_arn: str,
        conditions: Any,
        priority: int,
        actions: Any,
        tags: Any = None,
    ) -> Any:
        """Create one at a priority that is free."""
        listener = self._listener(listener_arn)
        if not conditions:
            # [inferred]
            raise refusal("ValidationError", "A condition must be specified")
        elbv2_settings.check_priority(
            priority, [rule.priority for rule in listener.rules.values()]
        )
        wanted = elbv2_actions.normal(actions)
        self._check_actions(wanted, listener.protocol, listener.load_balancer_arn)
        with self._named("rule", f"{listener_arn}/{priority}"):
            made = super().create_rule(listener_arn, conditions, priority, wanted, tags)
        self._note_use()
        return made

    def modify_rule(
        self, rule_arn: str, conditions: Any, actions: Any, transforms: Any = None
    ) -> Any:
        """Replace the conditions, the actions or the transforms of a rule,
        whichever are given.
        """
        listener, rule = self._rule(rule_arn)
        if rule.is_default:
            # [inferred]
            raise refusal(
                "OperationNotPermitted", f"Default rule '{rule_arn}' cannot be modified"
            )
        wanted = elbv2_actions.normal(actions)
        if wanted:
            self._check_actions(
                wanted, listener.protocol, listener.load_balancer_arn, but=rule_arn
            )
        if wanted or conditions or transforms is None:
            super().modify_rule(rule_arn, conditions, wanted)
        if transforms is not None:
            rule.transforms = transforms
        self._note_use()
        return rule

    def delete_rule(self, arn: str) -> None:
        """Delete a rule that is there and is not its listener's default."""
        _, rule = self._rule(arn)
        if rule.is_default:
            # [inferred]
            raise refusal(
                "OperationNotPermitted", f"Default rule '{arn}' cannot be deleted"
            )
        super().delete_rule(arn)
        self._note_use()

    def set_rule_priorities(self, rule_priorities: list[Members]) -> Any:
        """Move rules to priorities that are free, or that the same call makes free."""
        moved = {each["RuleArn"]: int(each["Priority"]) for each in rule_priorities}
        for arn, priority in moved.items():
            listener, _ = self._rule(arn)
            others = [
                rule.priority
                for rule in listener.rules.values()
                if rule.arn not in moved
            ]
            elbv2_settings.check_priority(priority, others)
        if len(set(moved.values())) < len(moved):
            return super().set_rule_priorities(rule_priorities)  # which says so
        for arn, priority in moved.items():
            self._rule(arn)[1].priority = priority
        return [self._rule(arn)[1] for arn in moved]

    def _listener(self, arn: str) -> Any:
        for balancer in self.load_balancers.values():
            if arn in balancer.listeners:
                return balancer.listeners[arn]
        raise refusal("ListenerNotFound", "One or more listeners not found")

    def _rule(self, arn: str) -> tuple[Any, Any]:
        """Return a rule's listener and the rule."""
        for balancer in self.load_balancers.values():
            for listener in balancer.listeners.values():
                for rule in listener.rules.values():
                    if rule.arn == arn:
                        return listener, rule
        raise refusal("RuleNotFound", "One or more rules not found")

    def _check_actions(
        self, actions: list[Members], protocol: str, load_balancer: str, but: str = ""
    ) -> None:
        known = {arn: self._known_group(arn, but) for arn in self.target_groups}
        used = [arn for arn, users in self._uses(but).items() if load_balancer in users]
        elbv2_actions.check(actions, protocol, load_balancer, known, used)

    def _known_group(self, arn: str, but: str) -> elbv2_actions.Group:
        group = self.target_groups[arn]
        cookie = group.attributes.get("stickiness.type") == "app_cookie"
        return elbv2_actions.Group(
            arn=arn,
            protocol=group.protocol or "",
            version=group.protocol_version or "HTTP1",
            load_balancers=frozenset(self._users_of(arn, but)),
            sticks_by_app_cookie=cookie
            and group.attributes.get("stickiness.enabled") == "true",
        )

    def _uses(self, but: str = "") -> dict[str, list[str]]:
        """Return the load balancers whose rules name each group, but for one rule."""
        found: dict[str, list[str]] = {}
        for balancer in self.load_balancers.values():
            for listener in balancer.listeners.values():
                rules = [rule for rule in listener.rules.values() if rule.arn != but]
                for arn in groups_of(
                    action.data for rule in rules for action in rule.actions
                ):
                    users = found.setdefault(arn, [])
                    users += [] if balancer.arn in users else [balancer.arn]
        return found

    def _users_of(self, group_arn: str, but: str = "") -> list[str]:
        return self._uses(but).get(group_arn, [])

    def _note_use(self) -> None:
        """Write into each group which load balancers use it; what is in no rule is
        not checked any more.
        """
        uses = self._uses()
        for arn, group in self.target_groups.items():
            was_used = bool(group.load_balancer_arns)
            group.load_balancer_arns = uses.get(arn, [])
            if was_used and not group.load_balancer_arns:
                self.targets[arn].leave_use()

    # targets

    def register_targets(self, target_group_arn: str, instances: list[Members]) -> None:
        """Register addresses; an instance is moto's."""
        group = self._group(target_group_arn)
        if group.target_type != "ip":
            super().register_targets(target_group_arn, instances)
            return
        for target in instances:
            elbv2_settings.check_target_address(target["Id"])
        for target in instances:
            self.targets[group.arn].register(
                target["Id"], int(target.get("Port") or group.port)
            )

    def deregister_targets(
        self, target_group_arn: str, instances: list[Members]
    ) -> None:
        """Let targets drain; one that is not registered is no error."""
        group = self._group(target_group_arn)
        if group.target_type != "ip":
            super().deregister_targets(target_group_arn, instances)
            return
        for target in instances:
            self.drain(group.arn, target["Id"], int(target.get("Port") or group.port))

    def drain(self, group_arn: str, address: str, port: int) -> None:
        """Let one target of a group drain for the group's delay; an
        unused one goes at once.
        """
        group = self._group(group_arn)
        delay = (
            int(group.attributes["deregistration_delay.timeout_seconds"])
            if group.load_balancer_arns
            else 0
        )
        now = time.time()
        self.targets[group_arn].deregister(address, port, now, delay)
        self.targets[group_arn].forget_drained(now)

    def describe_target_health(
        self, target_group_arn: str, targets: list[Members]
    ) -> Any:
        """Tell the health of the targets asked for, or of all."""
        group = self._group(target_group_arn)
        if group.target_type != "ip":
            return super().describe_target_health(target_group_arn, targets)
        known = self.targets[group.arn]
        known.forget_drained(time.time())
        asked = [
            (target["Id"], int(target.get("Port") or group.port)) for target in targets
        ]
        places = asked or list(known.targets)
        in_use = bool(group.load_balancer_arns)
        return [
            self._told(place, known.health_of(*place, in_use=in_use), group)
            for place in places
        ]

    def _told(self, place: tuple[str, int], health: Health, group: Any) -> TargetHealth:
        address, port = place
        words = {
            "State": health.state,
            "Reason": health.reason or None,
            "Description": health.description or None,
        }
        check_port = (
            str(port)
            if group.health_check_port == "traffic-port"
            else str(group.health_check_port)
        )
        return TargetHealth({"Id": address, "Port": port}, words, check_port)

    def _group(self, arn: str) -> Any:
        if arn not in self.target_groups:
            raise refusal("TargetGroupNotFound", "One or more target groups not found")
        return self.target_groups[arn]

    def settings_of(self, group_arn: str) -> Settings:
        """Return what decides on the health of a group's targets."""
        group = self._group(group_arn)
        return Settings(
            interval_seconds=float(group.health_check_interval_seconds),
            timeout_seconds=float(group.health_check_timeout_seconds),
            healthy_threshold=int(group.healthy_threshold_count),
            unhealthy_threshold=int(group.unhealthy_threshold_count),
            path=group.health_check_path or "/",
            matcher=(group.matcher or {}).get("HttpCode", "200"),
        )

    def expect(self, rule_arn: str) -> None:
        """Give the next load balancer, listener and rule made here the ids that a
        rule's ARN has in it.

        So an environment's file finds the rule that it names. One that is there stays.
        """
        listeners = [
            each
            for balancer in self.load_balancers.values()
            for each in balancer.listeners.values()
        ]
        if any(rule_arn in each.rules for each in listeners):
            return
        listener, _, rule_id = rule_arn.replace(
            ":listener-rule/", ":listener/"
        ).rpartition("/")
        balancer, _, listener_id = listener.replace(
            ":listener/", ":loadbalancer/"
        ).rpartition("/")
        _, name, balancer_id = (
            balancer.rsplit(":", 1)[-1].removeprefix("loadbalancer/").split("/")
        )
        self._expected |= {
            f"load balancer/{name}": balancer_id,
            f"listener/{balancer}": listener_id,
            f"rule/{listener}": rule_id,
        }

    @contextmanager
    def _named(self, kind: str, name: str) -> Iterator[None]:
        """Let moto give a new resource an id made from its name, not one by chance; the
        next of a name has another.
        """
        key = f"{kind}/{name}"
        made = identity.hexadecimal(
            16, self.account_id, self.region_name, key, self._made[key]
        )
        expected = self._expected.pop(key, "") or self._expected.pop(
            key.rpartition("/")[0], ""
        )
        vars(mock_random)["get_random_hex"] = lambda length=16: expected or made
        try:
            yield
        finally:
            del vars(mock_random)["get_random_hex"]
        self._made[key] += 1


def install() -> None:
    """Let moto make these from now on."""
    elbv2_backends.backend = LoadBalancers
    elbv2_transforms.install()
