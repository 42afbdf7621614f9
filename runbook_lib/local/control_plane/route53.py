"""Route 53: moto's, made true where the runbook depends on it: what AWS refuses of
zones, of who asks them, and of records.

Sources: facts of the API's model; texts without a source are marked [inferred].
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from moto.route53.exceptions import Route53ClientError
from moto.route53.models import Route53Backend, route53_backends
from moto.route53.responses import Route53

from runbook_lib.local.control_plane.propagation import PROPAGATION

__all__ = ["install"]

Record = Mapping[str, Any]


class PrivateZones(Route53Backend):
    """The store; what is not overridden here is as moto has it."""

    __module__ = Route53Backend.__module__  # beside which moto looks for its paths

    def create_hosted_zone(
        self,
        name: str,
        private_zone: bool,
        caller_reference: str | None = None,
        vpcid: str | None = None,
        vpcregion: str | None = None,
        comment: str | None = None,
        delegation_set_id: str | None = None,
    ) -> Any:
        """Create one whose reference is new, and whose name nobody asks in its VPC."""
        if any(zone.caller_reference == caller_reference for zone in self._all()):
            # [inferred]
            words = f"A hosted zone has already been created with {caller_reference}"
            raise Route53ClientError("HostedZoneAlreadyExists", words)
        if private_zone:
            self._refuse_second(name, vpcid, vpcregion)
        place = (caller_reference, vpcid, vpcregion)
        rest = (comment, delegation_set_id)
        made = super().create_hosted_zone(name, private_zone, *place, *rest)
        _say_soa_plainly(made)
        return made

    def associate_vpc_with_hosted_zone(
        self, zone_id: str, vpcid: str, vpcregion: str
    ) -> Any:
        """Let a VPC ask a zone, where it asks no other one of that name, nor this."""
        self._refuse_second(self.get_hosted_zone(zone_id).name, vpcid, vpcregion)
        done = super().associate_vpc_with_hosted_zone(zone_id, vpcid, vpcregion)
        asked_from = vars(self.get_hosted_zone(zone_id)).setdefault("asked_from", {})
        asked_from[vpcid] = PROPAGATION.due_next()
        return done

    def disassociate_vpc_from_hosted_zone(self, zone_id: str, vpcid: str) -> Any:
        """Let a VPC ask a zone no more that it asks."""
        zone = self.get_hosted_zone(zone_id)
        if vpcid not in [vpc["vpc_id"] for vpc in zone.vpcs]:
            # [inferred]
            words = f"The VPC: {vpcid} is not associated with zone {zone_id}"
            raise Route53ClientError("VPCAssociationNotFound", words)
        return super().disassociate_vpc_from_hosted_zone(zone_id, vpcid)

    def change_resource_record_sets(
        self, zoneid: str, change_list: list[dict[str, Any]]
    ) -> None:
        """Create records that are not there, delete those that are there just so."""
        zone = self.get_hosted_zone(zoneid)
        for change in change_list:
            record = change["ResourceRecordSet"]
            there = [each for each in zone.rrsets if _is_same(each, record)]
            called = f"[name='{record['Name']}', type='{record['Type']}']"
            if change["Action"] == "CREATE" and there:
                words = f"Tried to create resource record set {called}"
                _refuse(f"{words} but it already exists")
            if change["Action"] == "DELETE" and not there:
                words = f"Tried to delete resource record set {called}"
                _refuse(f"{words} but it was not found")
            if change["Action"] == "DELETE" and not _is_alike(there[0], record):
                words = f"Tried to delete resource record set {called}"
                _refuse(f"{words} but the values provided do not match the current")
        super().change_resource_record_sets(zoneid, change_list)
        for record in zone.rrsets:
            if record.alias_target:
                _qualify(record.alias_target)

    def _all(self) -> list[Any]:
        return list(self.zones.values())

    def _refuse_second(self, name: str, vpc: str | None, region: str | None) -> None:
        for zone in self._all():
            asked = vpc in [each["vpc_id"] for each in zone.vpcs]
            if zone.private_zone and asked and _plain(zone.name) == _plain(name):
                raise Route53ClientError(
                    "ConflictingDomainExists",
                    f"The VPC {vpc} in region {region} has already been associated "
                    f"with the hosted zone {zone.resource_id} with the same domain "
                    "name.",
                )


def _plain(name: str) -> str:
    return name.removesuffix(".").lower()


def _say_soa_plainly(zone: Any) -> None:
    """Take a zone's SOA record out of the Python that moto writes it as."""
    for record in zone.rrsets:
        if record.type == "SOA":
            record.records = [
                each["Value"] if isinstance(each, Mapping) else each
                for each in record.records
            ]


def _qualify(alias: dict[str, Any]) -> None:
    """Keep an alias's name as AWS says it: in lower case, with a dot at its end."""
    alias["DNSName"] = f"{_plain(alias['DNSName'])}."


def _is_same(there: Any, record: Record) -> bool:
    named = (_plain(there.name), there.type, there.set_identifier)
    said = (_plain(record["Name"]), record["Type"], record.get("SetIdentifier"))
    return named == said


def _is_alike(there: Any, record: Record) -> bool:
    """Say whether a record has these values: an alias's, or its own."""
    alias = record.get("AliasTarget")
    if not alias or not there.alias_target:
        return bool(alias) == bool(there.alias_target)
    return _plain(alias["DNSName"]) == _plain(there.alias_target["DNSName"])


def _refuse(words: str) -> None:
    raise Route53ClientError("InvalidChangeBatch", f"[{words}]")


Handler = Callable[[Route53], Any]
CHANGES = (
    "associate_vpc_with_hosted_zone",
    "change_resource_record_sets",
    "create_hosted_zone",
    "delete_hosted_zone",
    "disassociate_vpc_from_hosted_zone",
)


def _pending(act: Handler) -> Handler:
    """Return what answers a call that begins a change."""

    def answer(self: Route53) -> Any:
        done = act(self)
        begun = {"Id": f"/change/{PROPAGATION.begin()}", "Status": "PENDING"}
        done.result["ChangeInfo"] |= begun
        return done

    return answer


def _private_with_vpc(act: Handler) -> Handler:
    """Return what makes a zone private where a VPC is named, whatever else is said."""

    def answer(self: Route53) -> Any:
        if self._get_param("VPC.VPCId"):
            config = self.params.setdefault("HostedZoneConfig", {})
            config["PrivateZone"] = True
        return act(self)

    return answer


def _in_time(act: Handler) -> Handler:
    """Return what answers how far a change is."""

    def answer(self: Route53) -> Any:
        done = act(self)
        info = done.result["ChangeInfo"]
        id = info["Id"].rpartition("/")[2]
        info["Id"] = f"/change/{id}"
        if not PROPAGATION.is_everywhere(id):
            info["Status"] = "PENDING"
        return done

    return answer


def install() -> None:
    """Let moto make these from now on; those that are there become such."""
    if route53_backends.backend is not PrivateZones:
        route53_backends.backend = PrivateZones
        for _, _, backend in route53_backends.iter_backends():
            backend.__class__ = PrivateZones
        told = {**dict.fromkeys(CHANGES, _pending), "get_change": _in_time}
        told["create_hosted_zone"] = lambda act: _pending(_private_with_vpc(act))
        for name, made in told.items():
            setattr(Route53, name, made(getattr(Route53, name)))
