"""The application's ports: those that go through Envoy, and those that do not. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from runbook_lib.task_definition.envoy import applications
from runbook_lib.task_definition.form import split, tcp_ports
from runbook_lib.task_definition.lint.rule import Check, Finding, Rule, View

APP_PORTS = Rule(
    "app-ports",
    "FAIL",
    "no container maps TCP {found}, and each application maps others",
    "AppPorts are the ports the application listens on",
)
UNMAPPED = Rule(
    "unmapped-ports",
    "WARN",
    "no container maps TCP {found}; in awsvpc one may listen there all the same",
    "make sure that the application listens there; a port mapping would document it",
)
OPEN = Rule(
    "open-port",
    "WARN",
    "container ports {found} are not among them: reached past Envoy (roadmap#166)",
    "add them, with listeners for them, if they carry mesh traffic",
)
LISTENERS = Rule(
    "listener-ports",
    "FAIL",
    "expected the node's listener ports {expected}, found {found}",
    "listener ports, AppPorts and container ports are one and the same",
)
LOW = Rule(
    "low-port",
    "WARN",
    "{found}: the tutorial asks for ports above 1024 on Fargate; the user guide "
    "(troubleshooting-setup) says so of virtual gateways only, where "
    "Envoy binds the port",
    "fine where the application can bind it; a port above 1024 is the safe choice",
)
RULES = (APP_PORTS, UNMAPPED, OPEN, LISTENERS, LOW)
WHERE = "proxyConfiguration.AppPorts"


def _app_ports(view: View) -> set[str]:
    """Return the ports whose traffic goes through Envoy."""
    return set(split(view.properties.get("AppPorts")))


def _mapped_by_each(view: View) -> list[set[int]]:
    """Return what TCP ports each application maps."""
    return [tcp_ports(container) for container in applications(view.task)]


def _mapped(view: View) -> set[str]:
    """Return the TCP ports that the applications map."""
    every: set[int] = set().union(*_mapped_by_each(view))
    return {str(port) for port in every}


def _nobody_maps(view: View) -> Iterator[Finding]:
    """An application that maps no port may listen on any."""
    if view.only_calls:
        return
    missing = _app_ports(view) - _mapped(view)
    if missing:
        each_maps_some = all(_mapped_by_each(view))
        rule = APP_PORTS if each_maps_some else UNMAPPED
        yield view.finding(rule, WHERE, found=in_words(missing))


def _past_envoy(view: View) -> Iterator[Finding]:
    beside = _mapped(view) - _app_ports(view)
    if beside:
        yield view.finding(OPEN, WHERE, found=in_words(beside))


def _unlike_the_node(view: View) -> Iterator[Finding]:
    expected, found = view.listener_ports, _app_ports(view)
    if expected and expected != found:
        ports = {"expected": in_words(expected), "found": in_words(found)}
        yield view.finding(LISTENERS, WHERE, **ports)


def _low(view: View) -> Iterator[Finding]:
    if not view.fargate:
        return
    every = _app_ports(view) | _mapped(view)
    numbers = [port for port in every if port.isdigit()]
    low = [port for port in numbers if int(port) <= 1024]
    if low:
        yield view.finding(LOW, WHERE, found=in_words(low))


CHECKS: tuple[Check, ...] = (_nobody_maps, _past_envoy, _unlike_the_node, _low)


def in_words(ports: Collection[str]) -> str:
    """Return ports or addresses in words, those in a row as `first-last`."""
    numbers = [int(port) for port in ports if port.isdecimal()]
    words = [_row(row) for row in _rows(sorted(numbers))]
    words += sorted(port for port in ports if not port.isdecimal())
    return ", ".join(words) or "(none)"


def _rows(numbers: Iterable[int]) -> list[list[int]]:
    """Return rising numbers, those without a gap together."""
    rows: list[list[int]] = []
    for number in numbers:
        if rows and number == rows[-1][-1] + 1:
            rows[-1].append(number)
        else:
            rows.append([number])
    return rows


def _row(numbers: Sequence[int]) -> str:
    if len(numbers) > 2:
        return f"{numbers[0]}-{numbers[-1]}"
    return ", ".join(str(number) for number in numbers)
