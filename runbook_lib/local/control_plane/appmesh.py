"""AWS App Mesh: its 38 operations, driven by botocore's model of the service, on one
store per account and region.

Judgements where no source speaks: a client token is good for its operation as long
as the resource it answered for exists unchanged in identity (facts/appmesh.md 2.3);
a mesh without a spec is described with `spec: {}` as the documented answers show,
and works as DROP_ALL; a node is described with `backends: []` when it has none;
another account's `meshOwner` finds nothing, for no mesh is shared here. This module
alone changes the store.
"""

from __future__ import annotations

import base64
import json
import re
from copy import deepcopy
from typing import Any, Final

from runbook_lib.local.control_plane import mesh_rules
from runbook_lib.local.control_plane.mesh_resources import (
    KINDS,
    Kind,
    MeshState,
    Names,
    Resource,
    appmesh_backends,
    not_present,
)
from runbook_lib.local.control_plane.mesh_rules import bad_request
from runbook_lib.local.control_plane.validation import check
from runbook_lib.local.control_plane.wire import ApiError, Target, model

__all__ = ["perform"]

LISTS: Final = {
    f"List{kind.listed[0].upper()}{kind.listed[1:]}": kind for kind in KINDS.values()
}
TOKEN_REUSED: Final = (
    "The request contains a client token that was used for a previous update "
    "resource call with different "
    "specifications. Try the request again with a new client token."
)
MOST_TAGS: Final = 50

Members = dict[str, Any]


def perform(target: Target, members: Members) -> Members:
    """Carry out one operation and return its output members; raise ApiError as the
    service would answer.
    """
    shape = model("appmesh").operation_model(target.operation).input_shape
    members = check(shape, members, "BadRequestException")
    state = appmesh_backends[target.account][target.region].state
    if target.operation in LISTS:
        return _list(state, LISTS[target.operation], members)
    if target.operation in TAGGING:
        return TAGGING[target.operation](state, members)
    verb, kind = re.fullmatch(
        r"(Create|Describe|Update|Delete)(\w+)", target.operation
    ).groups()  # type: ignore[union-attr]
    _check_owner(state, members)
    mesh_rules.check_names(KINDS[kind], _names(KINDS[kind], members))
    return {KINDS[kind].key: _once(state, verb, KINDS[kind], members)}


def _names(kind: Kind, members: Members) -> Names:
    return tuple(members[name] for name in kind.names)


def _check_owner(state: MeshState, members: Members) -> None:
    owner = members.get("meshOwner", state.account)
    if owner != state.account:
        raise not_present(owner, KINDS["Mesh"], (members["meshName"],))


def _once(state: MeshState, verb: str, kind: Kind, members: Members) -> Members:
    """Answer a repeated client token as before, without doing it again."""
    token = members.get("clientToken")
    if token is None or verb not in ("Create", "Update"):
        return VERBS[verb](state, kind, members)
    if not re.fullmatch(r"[A-Za-z0-9_-]{1,36}", token):
        raise bad_request(
            "clientToken must be up to 36 letters, numbers, hyphens and underscores"
        )
    request = (kind.name, {k: v for k, v in members.items() if k != "clientToken"})
    if (known := _answered(state, kind, verb + kind.name, token)) is not None:
        if known[0] != request:
            raise ApiError("ConflictException", TOKEN_REUSED, 409)
        return deepcopy(known[1])
    answer = VERBS[verb](state, kind, members)
    state.tokens[verb + kind.name, token] = (deepcopy(request), deepcopy(answer))
    return answer


def _answered(
    state: MeshState, kind: Kind, operation: str, token: str
) -> tuple[Any, Members] | None:
    known = state.tokens.get((operation, token))
    if known is None:
        return None
    live = state.find(kind.name, tuple(known[1][name] for name in kind.names))
    return known if live and live.uid == known[1]["metadata"]["uid"] else None


def _create(state: MeshState, kind: Kind, members: Members) -> Members:
    names = _names(kind, members)
    state.require_parents(kind, names)
    if state.find(kind.name, names):
        place = f" under mesh {names[0]}" if len(names) > 1 else ""
        words = (
            f"{kind.name} with name {names[-1]} already exists{place} for account "
            f"{state.account}"
        )
        raise ApiError("ConflictException", words, 409)
    mesh_rules.check_quota(state, kind, names)
    tags = _merged({}, members.get("tags", []))
    spec = _complete(kind, members.get("spec", {}))
    mesh_rules.check_spec(state, kind, names, spec)
    return state.add(kind, names, spec, tags).document()


def _update(state: MeshState, kind: Kind, members: Members) -> Members:
    resource = state.get(kind.name, _names(kind, members))
    spec = _complete(kind, members.get("spec", {}))
    mesh_rules.check_spec(state, kind, resource.names, spec)
    resource.change(spec)
    return resource.document()


def _complete(kind: Kind, spec: Members) -> Members:
    return {"backends": [], **spec} if kind.name == "VirtualNode" else spec


def _describe(state: MeshState, kind: Kind, members: Members) -> Members:
    return state.get(kind.name, _names(kind, members)).document()


def _delete(state: MeshState, kind: Kind, members: Members) -> Members:
    resource = state.get(kind.name, _names(kind, members))
    mesh_rules.check_free(state, resource)
    state.remove(resource)
    return resource.document(status="DELETED")


VERBS: Final = {
    "Create": _create,
    "Describe": _describe,
    "Update": _update,
    "Delete": _delete,
}


def _list(state: MeshState, kind: Kind, members: Members) -> Members:
    if kind.name != "Mesh":
        _check_owner(state, members)
    above = tuple(members[name] for name in kind.names[:-1])
    state.require_parents(kind, (*above, ""))
    references = {r.name: r.reference() for r in state.under(kind.name, above)}
    return _page(kind.listed, references, members, most=100)


def _page(key: str, entries: dict[str, Any], members: Members, most: int) -> Members:
    """Return the entries after the one the token names, so that changes
    between pages do no harm.
    """
    after = _opened(members["nextToken"]) if members.get("nextToken") else ""
    left = sorted(name for name in entries if name > after)
    limit = members.get("limit", most)
    page = {key: [entries[name] for name in left[:limit]]}
    if len(left) > limit:
        page["nextToken"] = _sealed(left[limit - 1])  # type: ignore[assignment]
    return page


def _sealed(name: str) -> str:
    return base64.urlsafe_b64encode(json.dumps({"after": name}).encode()).decode()


def _opened(token: str) -> str:
    try:
        return str(json.loads(base64.urlsafe_b64decode(token))["after"])
    except (ValueError, KeyError, TypeError):
        raise bad_request("The nextToken is not valid") from None


def _tagged(state: MeshState, members: Members) -> Resource:
    arn = members["resourceArn"]
    if not (found := state.by_arn(arn)):
        raise ApiError(
            "NotFoundException", f"Resource with ARN {arn} is not present", 404
        )
    return found


def _merged(present: dict[str, str], tags: list[dict[str, str]]) -> dict[str, str]:
    keys = [tag["key"] for tag in tags]
    if len(keys) != len(set(keys)):
        raise bad_request("Tag keys must be unique within a request")
    if any(key.lower().startswith("aws:") for key in keys):
        raise bad_request("Tag keys must not start with aws:")
    merged = {**present, **{tag["key"]: tag.get("value", "") for tag in tags}}
    if len(merged) > MOST_TAGS:
        raise ApiError(
            "TooManyTagsException",
            f"A resource can have at most {MOST_TAGS} tags.",
            400,
        )
    return merged


def _tag(state: MeshState, members: Members) -> Members:
    resource = _tagged(state, members)
    resource.tags = _merged(resource.tags, members["tags"])
    return {}


def _untag(state: MeshState, members: Members) -> Members:
    resource = _tagged(state, members)
    resource.tags = {
        key: value
        for key, value in resource.tags.items()
        if key not in members["tagKeys"]
    }
    return {}


def _list_tags(state: MeshState, members: Members) -> Members:
    tags = {
        key: {"key": key, "value": value}
        for key, value in _tagged(state, members).tags.items()
    }
    return _page("tags", tags, members, most=MOST_TAGS)


TAGGING: Final = {
    "TagResource": _tag,
    "UntagResource": _untag,
    "ListTagsForResource": _list_tags,
}
