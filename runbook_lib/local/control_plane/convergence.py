"""ECS's scheduler: one step towards what every service is to be.

A step believes what the launcher reports, starts and stops tasks within the bounds of
the service's deployment configuration, and settles deployments: COMPLETED when every
task of the PRIMARY one is ready and no other is left, FAILED by the circuit breaker,
with or without a way back. Attachments hear of each task once when it comes up and once
before it goes. It answers no call and is counted as none.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from runbook_lib.local.control_plane import addresses
from runbook_lib.local.control_plane.attachments import Attachment, Standing
from runbook_lib.local.control_plane.deployments import (
    begin_deployment,
    current_definition,
)
from runbook_lib.local.control_plane.ecs_resources import (
    Deployment,
    EcsState,
    Service,
    Task,
)
from runbook_lib.local.control_plane.identity import hexadecimal
from runbook_lib.local.control_plane.launcher import Launcher

__all__ = ["Scheduler"]

OF_A_TASK = (
    "launchType",
    "platformVersion",
    "platformFamily",
    "networkConfiguration",
    "enableExecuteCommand",
)
# ECS shows a stopped task for an hour at least; here the last ones of a region stay
KEPT_STOPPED = 50


@dataclass(frozen=True, slots=True)
class Scheduler:
    """Moves the services of one account in one region; each method says
    whether something moved.
    """

    state: EcsState
    launcher: Launcher
    attachments: Sequence[Attachment]

    def step(self) -> bool:
        """Take one step: look at every task, then settle every service."""
        moved = [
            self._observe(task)
            for task in list(self.state.tasks.values())
            if task.last != "STOPPED"
        ]
        moved += [
            self._settle(service)
            for service in self.state.services.values()
            if service.status != "INACTIVE"
        ]
        self._forget()
        return any(moved)

    # tasks

    def _observe(self, task: Task) -> bool:
        before = (
            task.last,
            task.desired,
            task.told_to_stop,
            task.ready,
            dict(task.health),
        )
        if task.desired == "STOPPED" and task.stopping is None:
            self._leave(task)
        elif task.desired == "STOPPED" and not task.told_to_stop:
            self._dismiss(task)
        seen = self.launcher.state(task)
        task.health = (
            dict(seen["health"]) if seen["status"] != "STOPPED" else task.health
        )
        if seen["status"] == "RUNNING" and task.last == "PENDING":
            self._arrive(task)
        standings = self._standings(task)
        task.serves = all(standing.serves for standing in standings)
        task.was_ready = task.was_ready or task.ready
        if seen["status"] == "STOPPED":
            self._end(task, dict(seen))
        elif task.desired == "RUNNING" and (trouble := _trouble(task, standings)):
            self._stop(task, "ServiceSchedulerInitiated", trouble)
        return before != (
            task.last,
            task.desired,
            task.told_to_stop,
            task.ready,
            task.health,
        )

    def _standings(self, task: Task) -> list[Standing]:
        """Return what each attachment says of a task that it has been told of."""
        return (
            [attachment.standing(task) for attachment in self.attachments]
            if task.attached
            else []
        )

    def _arrive(self, task: Task) -> None:
        task.last, task.started = "RUNNING", time.time()
        if task.desired == "RUNNING":
            task.attached = True
            for attachment in self.attachments:
                attachment.started(task)

    def _stop(self, task: Task, code: str, reason: str) -> None:
        task.desired, task.stop_code, task.reason = "STOPPED", code, reason
        self._leave(task)

    def _leave(self, task: Task) -> None:
        """Take a task out of service first, then stop it: nobody is to be sent to
        one that is going.
        """
        task.stopping = time.time()
        self._detach(task)
        self._dismiss(task)

    def _dismiss(self, task: Task) -> None:
        """Stop a task once it has finished its requests; StopTask waits for nobody."""
        finishing = any(
            attachment.standing(task).leaving for attachment in self.attachments
        )
        if finishing and task.stop_code != "UserInitiated":
            return
        task.told_to_stop = True
        self.launcher.stop(task)

    def _detach(self, task: Task) -> None:
        if task.attached:
            task.attached = False
            for attachment in self.attachments:
                attachment.stopped(task)

    def _end(self, task: Task, seen: dict[str, Any]) -> None:
        self._detach(task)
        by_itself = task.desired == "RUNNING"
        if by_itself:
            task.desired, task.stopping = "STOPPED", time.time()
            task.stop_code = (
                "EssentialContainerExited" if task.started else "TaskFailedToStart"
            )
            task.reason = seen.get("reason") or "Essential container in task exited"
        task.last, task.stopped, task.exit_codes = (
            "STOPPED",
            time.time(),
            dict(seen.get("exit_codes", {})),
        )
        self._blame(task)

    def _blame(self, task: Task) -> None:
        """Count a task that never came up against its deployment."""
        unwanted = task.stop_code == "UserInitiated" or task.reason.startswith(
            "Scaling activity"
        )
        for service in self.state.services.values():
            for deployment in service.deployments:
                if (
                    deployment.id == task.deployment
                    and not task.was_ready
                    and not unwanted
                ):
                    deployment.failed += 1

    def _start(self, service: Service, deployment: Deployment) -> Task:
        definition = current_definition(self.state, service)
        task = Task(
            id=hexadecimal(32, *self.state.fresh()),
            account=self.state.account,
            region=self.state.region,
            cluster=service.cluster,
            definition=definition.describe(),
            service=service.name,
            deployment=deployment.id,
            address=addresses.next_address(self.state, service.request),
            vpc=addresses.vpc_of(self.state, service.request),
            request={
                key: service.request[key] for key in OF_A_TASK if key in service.request
            },
            registries=list(service.request.get("serviceRegistries", [])),
            load_balancers=list(service.request.get("loadBalancers", [])),
            grace_seconds=service.request.get("healthCheckGracePeriodSeconds") or 0,
            created=time.time(),
            tags=_tags(service, definition.tags),
        )
        self.state.tasks[task.id] = task
        self.launcher.start(task)
        return task

    def _forget(self) -> None:
        stopped = [
            task.id for task in self.state.tasks.values() if task.last == "STOPPED"
        ]
        for task_id in stopped[:-KEPT_STOPPED]:
            del self.state.tasks[task_id]

    # services

    def _settle(self, service: Service) -> bool:
        if service.status == "DRAINING":
            return self._drain(service)
        moved = [
            self._break(service),
            self._grow(service),
            self._shrink(service),
            self._finish(service),
        ]
        return any(moved)

    def _tasks(self, service: Service) -> list[Task]:
        return [
            task for task in self.state.tasks_of(service) if task.desired == "RUNNING"
        ]

    def _drain(self, service: Service) -> bool:
        going = self._tasks(service)
        self._stop_all(service, going)
        if not self.state.tasks_of(service):
            service.status, service.deployments = "INACTIVE", []
            return True
        return bool(going)

    def _stop_all(self, service: Service, tasks: Sequence[Task]) -> bool:
        for task in tasks:
            self._stop(
                task,
                "ServiceSchedulerInitiated",
                f"Scaling activity initiated by (deployment {task.deployment})",
            )
        if tasks:
            service.tell(f"has stopped {len(tasks)} running tasks: {_listed(tasks)}.")
        return bool(tasks)

    def _grow(self, service: Service) -> bool:
        """Start what the PRIMARY deployment lacks, as far as maximumPercent allows."""
        primary = service.primary
        if primary.state == "FAILED":
            return False
        tasks = self._tasks(service)
        lacking = service.desired - sum(task.deployment == primary.id for task in tasks)
        most = math.floor(
            service.desired * _percent(service, "maximumPercent", 200) / 100
        )
        started = [
            self._start(service, primary)
            for _ in range(min(lacking, max(most - len(tasks), 0)))
        ]
        if started:
            service.steady = False
            service.tell(f"has started {len(started)} tasks: {_listed(started)}.")
        return bool(started)

    def _shrink(self, service: Service) -> bool:
        """Stop what is too much, former deployments first, never below
        minimumHealthyPercent ready.
        """
        primary, tasks = service.primary, self._tasks(service)
        own = [task for task in tasks if task.deployment == primary.id]
        former = [task for task in tasks if task.deployment != primary.id]
        least = math.ceil(
            service.desired * _percent(service, "minimumHealthyPercent", 100) / 100
        )
        spare = max(sum(task.ready for task in tasks) - least, 0)
        unready = [task for task in former if not task.ready]
        going = (
            unready
            + [task for task in former if task.ready][:spare]
            + own[service.desired :]
        )
        if primary.state == "FAILED" and former:
            going = own  # a broken deployment without a way back keeps what still works
        return self._stop_all(service, going)

    def _finish(self, service: Service) -> bool:
        """Call the PRIMARY deployment complete when it stands alone and
        ready, and say so once.
        """
        primary, tasks = service.primary, self.state.tasks_of(service)
        own = [task for task in tasks if task.deployment == primary.id]
        alone = len(own) == len(tasks) == service.desired and all(
            task.ready for task in own
        )
        if not alone or service.steady or primary.state == "FAILED":
            return False
        if primary.state != "COMPLETED":
            primary.state, primary.updated = "COMPLETED", time.time()
            primary.reason = f"ECS deployment {primary.id} completed."
            service.tell(f"(deployment {primary.id}) deployment completed.")
        service.deployments, service.steady = [primary], True
        service.tell("has reached a steady state.")
        return True

    def _break(self, service: Service) -> bool:
        """Give up when half the desired tasks, 3 at least and 200 at
        most, did not come up.
        """
        primary = service.primary
        breaker = service.request.get("deploymentConfiguration", {}).get(
            "deploymentCircuitBreaker", {}
        )
        threshold = min(max(math.ceil(service.desired / 2), 3), 200)
        if (
            not breaker.get("enable")
            or primary.state != "IN_PROGRESS"
            or primary.failed < threshold
        ):
            return False
        primary.state, primary.updated = "FAILED", time.time()
        primary.reason = "ECS deployment circuit breaker: tasks failed to start."
        service.tell(
            f"(deployment {primary.id}) deployment failed: tasks failed to start."
        )
        proven = next((d for d in service.deployments if d.state == "COMPLETED"), None)
        if breaker.get("rollback") and proven:
            self._roll_back(service, proven)
        return True

    def _roll_back(self, service: Service, proven: Deployment) -> None:
        service.definition = proven.definition
        reason = (
            f"ECS deployment circuit breaker: rolling back to deploymentId {proven.id}."
        )
        made = begin_deployment(self.state, service, reason, proven.revision)
        service.tell(f"rolling back to deployment {proven.id}.")
        for task in self._tasks(service):
            if task.deployment == proven.id:
                task.deployment = made.id  # they run the right revision already


def _trouble(task: Task, standings: Sequence[Standing]) -> str:
    """Return why a task must be replaced, empty where it may go on."""
    essential = {
        c["name"] for c in task.definition["containerDefinitions"] if c["essential"]
    }
    if any(task.health.get(name) == "UNHEALTHY" for name in essential):
        return "Task failed container health checks"
    return next((standing.trouble for standing in standings if standing.trouble), "")


def _percent(service: Service, name: str, default: int) -> int:
    return int(service.request.get("deploymentConfiguration", {}).get(name, default))


def _listed(tasks: Sequence[Task]) -> str:
    return " ".join(f"(task {task.id})" for task in tasks)


def _tags(
    service: Service, of_definition: list[dict[str, str]]
) -> list[dict[str, str]]:
    wanted = service.request.get("propagateTags", "NONE")
    return list(
        {"SERVICE": service.tags, "TASK_DEFINITION": of_definition}.get(wanted, [])
    )
