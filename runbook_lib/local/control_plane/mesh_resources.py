"""What App Mesh keeps: the seven kinds of resource, one store per account and region.

A resource knows its document, its reference in a list and its ARN (facts/appmesh.md
2.2); the store finds, adds, changes and removes. Rules between resources live in
`mesh_rules`, operations in `appmesh`.
"""

from __future__ import annotations

import time
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Final

from moto.core.base_backend import BackendDict, BaseBackend

from runbook_lib.local.control_plane import identity
from runbook_lib.local.control_plane.wire import ApiError

__all__ = [
    "KINDS",
    "AppMeshBackend",
    "Kind",
    "MeshState",
    "Resource",
    "appmesh_backends",
    "not_present",
]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of resource: its name, its members' names on the wire, its parent."""

    name: str  # VirtualNode
    key: str  # virtualNode, in answers and ARNs
    listed: str  # virtualNodes, in lists
    names: tuple[str, ...]  # the members that name it, outermost first
    path: str  # of its ARN

    @property
    def owner(self) -> str:
        """Return the wire name of the member that holds its own name."""
        return self.names[-1]


def _kind(name: str, *parents: str) -> Kind:
    key = name[0].lower() + name[1:]
    names = ("meshName", *(f"{parent}Name" for parent in parents), f"{key}Name")
    path = "/".join(f"{part}/{{}}" for part in ("mesh", *parents, key))
    listed = "meshes" if name == "Mesh" else f"{key}s"
    if name == "Mesh":
        names, path = ("meshName",), "mesh/{}"
    return Kind(name, key, listed, names, path)


KINDS: Final[dict[str, Kind]] = {
    kind.name: kind
    for kind in (
        _kind("Mesh"),
        _kind("VirtualNode"),
        _kind("VirtualRouter"),
        _kind("VirtualService"),
        _kind("VirtualGateway"),
        _kind("Route", "virtualRouter"),
        _kind("GatewayRoute", "virtualGateway"),
    )
}


@dataclass
class Resource:
    """One App Mesh resource. Two are equal when all but their uid and times is."""

    kind: Kind
    names: tuple[str, ...]
    account: str
    region: str
    spec: dict[str, Any]
    tags: dict[str, str]
    uid: str = field(compare=False)
    created: float = field(compare=False)
    updated: float = field(compare=False)
    version: int = 1

    @property
    def name(self) -> str:
        """Return its own name, the last of `names`."""
        return self.names[-1]

    @property
    def arn(self) -> str:
        """Return its ARN."""
        return identity.arn(
            "appmesh", self.region, self.account, self.kind.path.format(*self.names)
        )

    def change(self, spec: dict[str, Any]) -> None:
        """Replace the whole spec; the version rises by one."""
        self.spec, self.version, self.updated = (
            deepcopy(spec),
            self.version + 1,
            time.time(),
        )

    def document(self, status: str = "ACTIVE") -> dict[str, Any]:
        """Return what describe, create, update and delete answer with."""
        metadata = {
            "arn": self.arn,
            "uid": self.uid,
            "version": self.version,
            **self._times(),
            **self._owners(),
        }
        names = dict(zip(self.kind.names, self.names, strict=True))
        return {
            **names,
            "metadata": metadata,
            "spec": deepcopy(self.spec),
            "status": {"status": status},
        }

    def reference(self) -> dict[str, Any]:
        """Return what a list shows of it."""
        names = dict(zip(self.kind.names, self.names, strict=True))
        return {
            **names,
            "arn": self.arn,
            "version": self.version,
            **self._times(),
            **self._owners(),
        }

    def _times(self) -> dict[str, float]:
        return {"createdAt": self.created, "lastUpdatedAt": self.updated}

    def _owners(self) -> dict[str, str]:
        return {"meshOwner": self.account, "resourceOwner": self.account}


Names = tuple[str, ...]


@dataclass
class MeshState:
    """All App Mesh resources of one account in one region."""

    account: str
    region: str
    resources: dict[str, dict[Names, Resource]] = field(
        default_factory=lambda: {name: {} for name in KINDS}
    )
    serial: int = field(default=0, compare=False)
    tokens: dict[tuple[str, str], tuple[Any, dict[str, Any]]] = field(
        default_factory=dict, compare=False
    )

    def find(self, kind: str, names: Names) -> Resource | None:
        """Return a resource, or None."""
        return self.resources[kind].get(names)

    def get(self, kind: str, names: Names) -> Resource:
        """Return a resource; raise NotFoundException for it or for what
        it would be under.
        """
        if not (found := self.find(kind, names)):
            self.require_parents(KINDS[kind], names)
            raise not_present(self.account, KINDS[kind], names)
        return found

    def require_parents(self, kind: Kind, names: Names) -> None:
        """Raise NotFoundException unless what it lies under is there."""
        if len(names) > 1 and not self.find("Mesh", names[:1]):
            raise not_present(self.account, KINDS["Mesh"], names[:1])
        parent = {"Route": "VirtualRouter", "GatewayRoute": "VirtualGateway"}.get(
            kind.name
        )
        if parent and not self.find(parent, names[:-1]):
            raise not_present(self.account, KINDS[parent], names[:-1])

    def add(
        self, kind: Kind, names: Names, spec: dict[str, Any], tags: dict[str, str]
    ) -> Resource:
        """Store a new resource at version 1 with a uid of its own."""
        self.serial += 1
        uid = identity.uid(self.account, self.region, kind.name, *names, self.serial)
        now = time.time()
        made = Resource(
            kind, names, self.account, self.region, deepcopy(spec), tags, uid, now, now
        )
        self.resources[kind.name][names] = made
        return made

    def remove(self, resource: Resource) -> None:
        """Forget a resource."""
        del self.resources[resource.kind.name][resource.names]

    def under(self, kind: str, names: Names) -> list[Resource]:
        """Return the resources of a kind below `names`, by name."""
        found = [
            r for key, r in self.resources[kind].items() if key[: len(names)] == names
        ]
        return sorted(found, key=lambda resource: resource.names)

    def by_arn(self, arn: str) -> Resource | None:
        """Return the resource of this ARN, or None."""
        return next(
            (
                r
                for kind in self.resources.values()
                for r in kind.values()
                if r.arn == arn
            ),
            None,
        )


def not_present(account: str, kind: Kind, names: Names) -> ApiError:
    """Return NotFoundException as in roadmap#173; the words for a mesh and below a
    router are inferred.
    """
    place = f" under mesh {names[0]}" if len(names) > 1 else ""
    return ApiError(
        "NotFoundException",
        f"{kind.name} with name {names[-1]} is not present{place} for "
        f"account {account}",
        404,
    )


class AppMeshBackend(BaseBackend):
    """App Mesh of one account in one region; moto's own reset empties it."""

    def __init__(self, region_name: str, account_id: str) -> None:
        super().__init__(region_name, account_id)
        self.state = MeshState(account_id, region_name)


# In every region that ECS is in: botocore will forget where App Mesh was.
appmesh_backends: BackendDict[AppMeshBackend] = BackendDict(AppMeshBackend, "ecs")
