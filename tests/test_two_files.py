"""One file after another leaves what the second alone leaves, whatever both say, where each writes out every key."""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from runbook_lib import parameters
from runbook_lib.engines.appmesh.spec import created, desired, updated
from runbook_lib.lifecycle import Lifecycle
from runbook_lib.parameters import Parameters
from runbook_lib.parameters.appmesh import CloudMap, Envoy, Header, Match, Mesh, Range, Route, Timeout
from runbook_lib.parameters.model import Service
from runbook_lib.plan.states import empty
from tests.scenes import LOCAL

Json = dict[str, Any]
HTTP_ONLY = {"prefix", "path", "path_regex", "query_parameters", "scheme", "method"}
GRPC_ONLY = {"service", "grpc_method"}
LIMITS = st.sampled_from([None, 0, 5, 15])
# What is no matter of the mesh's resources, or what two files that are compared have in common.
SAME: dict[type[BaseModel], Json] = {
    Service: {"hostname": "serviceb.apps.local", "task_definition": "taskB", "ports": [9080], "protocol": None},
    Route: {"targets": ["serviceB", "serviceBv2"]},
    Envoy: {},
}
OF_RESOURCES: dict[type[BaseModel], set[str]] = {
    Service: {"backends", "cloud_map", "access_log", "health_check", "timeout"},
    Envoy: {"access_log"},
    Mesh: {"egress"},
}
OWN_VALUES: dict[tuple[type[BaseModel], str], st.SearchStrategy[Any]] = {
    (Mesh, "name"): st.just("apps"),
    (Service, "backends"): st.sampled_from([[], ["servicea.apps.local"]]),
    (CloudMap, "namespace"): st.sampled_from([None, "other.local"]),
    (CloudMap, "attributes"): st.sampled_from([{}, {"k": "a"}, {"k": "b"}]),
    (Timeout, "per_request_seconds"): LIMITS,
    (Match, "port"): st.sampled_from([None, 9080]),
    (Match, "path_regex"): st.sampled_from([None, "/a+", "/b+"]),
    (Header, "regex"): st.sampled_from([None, "a+", "b+"]),
    (Range, "start"): st.integers(0, 1),
    (Range, "end"): st.integers(2, 3),
}


def value_of(kind: Any, metadata: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    """Return values of a type of the model."""
    origin = get_origin(kind)
    if origin is Annotated:
        inner, *more = get_args(kind)
        return value_of(inner, (*metadata, *_flat(more)))
    if origin in (Union, types.UnionType):
        return st.one_of(st.none() if each is type(None) else value_of(each, metadata) for each in get_args(kind))
    if origin is Literal:
        return st.sampled_from(get_args(kind))
    if origin is list:
        return st.lists(value_of(*get_args(kind)), max_size=2)
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        return written(kind)
    if kind is bool:
        return st.booleans()
    if kind is int:
        least = next((m.ge for m in metadata if hasattr(m, "ge")), 1)
        return st.sampled_from([least, least + 1])
    return st.sampled_from(["/a", "/b"])  # a path, and any other text


def _flat(metadata: list[Any]) -> list[Any]:
    """Return what a field's constraints are, one by one."""
    return [each for one in metadata for each in (getattr(one, "metadata", None) or [one])]


def written(model: type[BaseModel]) -> st.SearchStrategy[Json]:
    """Return a section with every key written out."""
    known = {}
    for name, field in model.model_fields.items():
        if name in SAME.get(model, {}):
            known[name] = st.just(SAME[model][name])
        elif (model, name) in OWN_VALUES:
            known[name] = OWN_VALUES[model, name]
        elif model not in OF_RESOURCES or name in OF_RESOURCES[model]:
            known[name] = value_of(field.annotation, tuple(_flat(field.metadata)))
    return st.fixed_dictionaries(known).map(lambda section: ONE_ALONE.get(model, dict)(section))


def _one_path(match: Json) -> Json:
    return _first_alone(match, ("path", "path_regex", "prefix"))


def _one_way(header: Json) -> Json:
    return _first_alone(header, ("exact", "prefix", "suffix", "regex", "range"))


def _first_alone(section: Json, words: tuple[str, ...]) -> Json:
    said = [word for word in words if section.get(word) is not None]
    return {**section, **dict.fromkeys(said[1:])}


ONE_ALONE: dict[type[BaseModel], Any] = {Match: _one_path, Header: _one_way}


def file_of(protocol: str, sections: Mapping[str, Json]) -> Json:
    """Return LOCAL's values with these sections, and with what their protocol knows alone."""
    route = deepcopy(dict(sections["route"]))
    match, retry, service = route["match"], route["retry"], deepcopy(dict(sections["service"]))
    for word in GRPC_ONLY if protocol == "http2" else HTTP_ONLY:
        match[word] = [] if word == "query_parameters" else None
    if protocol == "http2":
        retry["grpc_events"] = []
    elif service["health_check"]:
        service["health_check"]["path"] = None
    if not match["service"]:
        match["grpc_method"] = None
    if not (retry["http_events"] or retry["tcp_events"] or retry["grpc_events"]):
        retry["tcp_events"] = ["connection-error"]
    values = deepcopy(LOCAL)
    values |= {"protocol": protocol, "mesh": sections["mesh"]}
    values["envoy"] |= sections["envoy"]
    values["services"]["serviceB"] = service
    values["routers"]["serviceB"]["routes"]["serviceB"] = route
    return values


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from leaves(inner, f"{path}.{key}")
    else:
        yield path, value


def specs(p: Parameters) -> dict[str, Any]:
    """Return every resource by its key; a name is made twice, the second time with what provides it."""
    return {f"{resource.key} {resource.step}": resource for resource in desired(p, Lifecycle())}


def plain(value: Any) -> Any:
    """Return a state without what the API takes for nothing."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    fields = {key: plain(inner) for key, inner in value.items()}
    return {key: inner for key, inner in fields.items() if not empty(inner)}


SECTIONS = st.fixed_dictionaries(
    {"mesh": written(Mesh), "envoy": written(Envoy), "service": written(Service), "route": written(Route)}
)
SEEN: dict[str, set[str]] = {}


@pytest.mark.parametrize("protocol", ["http2", "grpc"])
def test_one_file_after_another_leaves_what_the_second_alone_leaves(protocol: str) -> None:
    @given(SECTIONS, SECTIONS)
    @settings(max_examples=250, derandomize=True, database=None, phases=[Phase.generate])
    def check(first: Json, second: Json) -> None:
        files = [file_of(protocol, sections) for sections in (first, second)]
        before, after = (specs(parameters.load("scene", said)) for said in files)
        for key, resource in after.items():
            assert plain(updated(resource, created(before[key]))) == plain(created(resource)), key
        _note(*files)

    SEEN.clear()
    check()
    known = {name: kinds for name, kinds in SEEN.items() if name.startswith(WRITTEN) and not _holds_others(name)}
    for name, kinds in known.items():
        if name.rsplit(".", 1)[-1] not in NEVER[protocol]:
            assert kinds >= (ONCE if name in ONE_VALUE else ALWAYS if name in NEVER_EMPTY else EVERY), (name, kinds)
    assert len(known) > 25


def _holds_others(name: str) -> bool:
    return any(other.startswith(f"{name}.") for other in SEEN)


def _note(first: Json, second: Json) -> None:
    """Keep how each leaf went from the first file to the second."""
    before, after = dict(leaves(first)), dict(leaves(second))
    for name in before.keys() | after.keys():
        old, new = before.get(name), after.get(name)
        kind = "same" if old == new else "set" if empty(old) else "removed" if empty(new) else "changed"
        SEEN.setdefault(name, set()).add(kind)


WRITTEN = (".mesh", ".envoy.access_log", ".services.serviceB", ".routers")
EVERY = {"set", "changed", "removed"}
ALWAYS, ONCE = {"changed"}, {"set", "removed"}
SHARED = {"name", "hostname", "task_definition", "ports", "protocol", "targets"}
NEVER = {"http2": SHARED | GRPC_ONLY | {"grpc_events"}, "grpc": SHARED | HTTP_ONLY}
ROUTE = ".routers.serviceB.routes.serviceB"
ONE_VALUE = {".services.serviceB.backends", ".services.serviceB.cloud_map.namespace", f"{ROUTE}.match.port"}
NEVER_EMPTY = {".mesh.egress", f"{ROUTE}.retry.max_retries", f"{ROUTE}.retry.per_retry_timeout_millis"}
