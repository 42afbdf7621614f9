"""Say which calls on App Mesh and on its Envoys' roles an undo may make. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from runbook_lib.engines.appmesh import iam
from runbook_lib.engines.appmesh.spec import mesh_arn
from runbook_lib.engines.protocol import Undoable
from runbook_lib.parameters import Parameters

Arguments = Mapping[str, Any]

KINDS = ("mesh", "virtual_service", "virtual_node", "virtual_router", "route")
OWN_TAGS = "runbook"  # how the keys of the runbook's own tags begin


def _in_mesh(p: Parameters, given: Arguments) -> bool:
    return bool(given.get("meshName") == p.mesh.name)


def _of_mesh(p: Parameters, given: Arguments) -> bool:
    own, arn = mesh_arn(p), str(given.get("resourceArn"))
    return arn == own or arn.startswith(f"{own}/")


def _of_policy(p: Parameters, given: Arguments) -> bool:
    """Only the policy that the file asks for, under the name it has there."""
    own = {iam.policy_name(p, name): iam.policy(p, name) for name in p.services}
    name, said = str(given.get("PolicyName")), given.get("PolicyDocument")
    return name in own and (said is None or json.loads(said) == own[name])


def _of_managed_policy(p: Parameters, given: Arguments) -> bool:
    own = {iam.managed_arn(p, name) for name in iam.MANAGED}
    return given.get("PolicyArn") in own


def _of_role_tag(p: Parameters, given: Arguments) -> bool:
    keys = [tag["Key"] for tag in given.get("Tags", ())]
    keys += given.get("TagKeys", ())
    return bool(keys) and all(str(key).startswith(OWN_TAGS) for key in keys)


_OF_RESOURCES = {
    ("appmesh", f"{verb}_{kind}"): _in_mesh
    for verb in ("create", "update", "delete")
    for kind in KINDS
}

undoable = Undoable(
    writes={
        **_OF_RESOURCES,
        ("appmesh", "tag_resource"): _of_mesh,
        ("appmesh", "untag_resource"): _of_mesh,
        ("iam", "put_role_policy"): _of_policy,
        ("iam", "delete_role_policy"): _of_policy,
        ("iam", "attach_role_policy"): _of_managed_policy,
        ("iam", "detach_role_policy"): _of_managed_policy,
        ("iam", "tag_role"): _of_role_tag,
        ("iam", "untag_role"): _of_role_tag,
    },
    reads=frozenset(
        {
            *(("appmesh", f"describe_{kind}") for kind in KINDS),
            ("appmesh", "list_tags_for_resource"),
            ("iam", "get_role"),
            ("iam", "get_role_policy"),
            ("iam", "list_attached_role_policies"),
        }
    ),
)
