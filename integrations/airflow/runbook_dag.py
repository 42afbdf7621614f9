"""Parameters files as a DAG of Apache Airflow 3: one task group an environment, wave after wave.

The notebooks run in kernels of the product's own environment; this file needs nothing of it but its files and
commands. docs/integrations.md says how to set it up.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import yaml
from airflow.providers.papermill.operators.papermill import PapermillOperator
from airflow.providers.standard.operators.hitl import ApprovalOperator
from airflow.sdk import DAG, TaskGroup, chain, task
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from papermill.exceptions import PapermillExecutionError

PRODUCT = Path(__file__).resolve().parents[2]
NOTEBOOKS = ("00", "01", "02", "03", "04", "05")
SHIFTS = "05"  # the notebook that waits for approvals
KERNEL = "runbook"
RETRIES = {"retries": 2, "retry_delay": timedelta(seconds=30)}
APPROVAL = "approval: "  # how the reason of a shift begins that is held for an approval


@dataclass(frozen=True)
class Environment:
    """What a DAG has to know of a parameters file: where it is, its name, its engine, and its approvals."""

    file: Path
    name: str
    engine: str
    approvals: tuple[int, ...]
    required: int


def read_environment(file: str | Path) -> Environment:
    """Read a parameters file; whether it can be used, the first task asks the product.

    Raises ValueError where it does not name its environment, and OSError where it cannot be read.
    """
    path = Path(file).resolve()
    said = yaml.safe_load(path.read_text())
    if not isinstance(said, dict) or "environment" not in said:
        raise ValueError(f"{path}: expected a parameters file, found no environment in it; try: runbook lint {path}")
    approvals = (said.get("shift") or {}).get("approvals") or {}
    return Environment(
        file=path,
        name=said["environment"],
        engine=said.get("engine", "appmesh"),
        approvals=tuple(sorted(approvals.get("steps", ()))),
        required=approvals.get("required", 1),
    )


def product(*command: str | Path) -> str:
    """Run a command of the product's environment; return what it printed, and end the task where it fails."""
    program, *words = command
    done = subprocess.run([PRODUCT / ".venv/bin" / program, *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise AirflowFailException(f"{done.stdout}{done.stderr}".strip())
    return done.stdout.strip()


@task
def open_run(file: str) -> str:
    """Open or join the environment's run; return its folder."""
    return product("python", PRODUCT / "integrations/airflow/open_run.py", file)


@task
def report(folder: str) -> str:
    """Write the run's report, however it ended; return where it is."""
    return product("runbook", "report", folder)


class NotebookOperator(PapermillOperator):
    """Execute a notebook in an environment's run; return "done", or the reason of a shift held for an approval.

    Only what says nothing of its end, a worker or a kernel that was lost, is tried again: a shift goes on in a
    process of its own then, and the next try follows it, or ends as it has ended meanwhile.
    """

    def __init__(self, *, environment: str, **options: Any) -> None:
        given = {"environment": environment, "mode": "apply"}
        super().__init__(parameters=given, kernel_name=KERNEL, log_output=True, **options)

    def execute(self, context: Any) -> str:
        """Execute the notebook, unless its shift was rolled back, or was held while nobody followed it."""
        output = Path(self.output_nb)
        if not output.parent.is_dir():
            raise AirflowFailException(f"no folder of a run: found {str(output.parent)!r}\nNext: clear open_run too")
        begun = output.with_name(f".{output.stem}.begun")  # there while a try has not said how it ended
        former = summary_since(output.parent, 0)
        if former.get("outcome") == "rolled_back":
            again = "to begin another run, clear the task open_run of this group too"
            raise AirflowFailException(f"{former['outcome']}: {former['reason']}\nNext: {again}")
        if begun.exists():
            ended = summary_since(output.parent, begun.stat().st_mtime)
            if ended.get("outcome", "done") != "done":
                begun.unlink()
                return self.conclude(ended["outcome"], ended["reason"])
        begun.touch()
        os.environ["RUNBOOK_RUN"] = str(output.parent)
        try:
            super().execute(context)
        except PapermillExecutionError as error:
            ended = summary_since(output.parent, begun.stat().st_mtime)
            begun.unlink()
            return self.conclude(error.ename, ended.get("reason", error.evalue))
        begun.unlink()
        return "done"

    def conclude(self, ended: str, reason: str) -> str:
        """Return the reason of a shift that waits for an approval; else end the task."""
        if not reason.startswith(APPROVAL):
            raise AirflowFailException(f"{ended}: {reason}")
        return reason


def summary_since(folder: Path, moment: float) -> dict[str, Any]:
    """Return how a run's shift has ended since a moment, in epoch seconds; empty where it has not."""
    file = folder / "summary.json"
    if not file.exists() or file.stat().st_mtime < moment:
        return {}
    summary: dict[str, Any] = json.loads(file.read_text())
    return summary


class StepApproval(ApprovalOperator):
    """Ask for an approval where the shift is held for one, and give it to the run by `runbook approve`."""

    template_fields = (*ApprovalOperator.template_fields, "folder", "reason")

    def __init__(self, *, folder: str, reason: str, **options: Any) -> None:
        super().__init__(body=reason, fail_on_reject=True, retries=0, **options)
        self.folder = folder
        self.reason = reason

    def execute(self, context: Any) -> Any:
        """Ask, unless the shift needs no approval."""
        if not self.reason.startswith(APPROVAL):
            raise AirflowSkipException("the shift needs no approval")
        return super().execute(context)

    def execute_complete(self, context: Any, event: dict[str, Any]) -> Any:
        """Approve in the name of who answered; the product says whether that counts."""
        answer = super().execute_complete(context, event)
        product("runbook", "approve", self.folder, "--by", answer["responded_by_user"]["name"])
        return answer


def notebook_of(number: str, engine: str) -> Path:
    """Return an engine's notebook by its number: its own, else the one of all.

    Raises ValueError where there is none.
    """
    folders = (PRODUCT / "notebooks" / engine, PRODUCT / "notebooks")
    found = [path for folder in folders for path in folder.glob(f"{number}_*.ipynb")]
    if not found:
        raise ValueError(f"notebooks: expected numbers as '05', found {number!r}")
    return found[0]


def environment_group(environment: Environment, notebooks: Sequence[str]) -> TaskGroup:
    """Make an environment's task group: its run, its notebooks in order, its approvals, and its report."""
    with TaskGroup(environment.name) as group:
        opened = open_run(str(environment.file))
        folder = pulled(f"{environment.name}.open_run")
        last = opened.as_setup()
        for number in notebooks:
            source = notebook_of(number, environment.engine)
            executed = notebook_task(environment, source, source.stem)
            chain(last, executed)
            last = executed
            if number != SHIFTS:
                continue
            for step in environment.approvals:
                asked = approval_tasks(environment, step, last.task_id)
                again = notebook_task(environment, source, f"{source.stem}_after_{step}", trigger_rule="none_failed")
                chain(last, asked, again)
                last = again
        chain(last, report(folder).as_teardown(setups=opened))
    return group


def notebook_task(environment: Environment, source: Path, task_id: str, **options: Any) -> NotebookOperator:
    """Make the task that executes a notebook into the folder of the environment's run."""
    return NotebookOperator(
        task_id=task_id,
        environment=str(environment.file),
        input_nb=str(source),
        output_nb=f"{pulled(f'{environment.name}.open_run')}/{source.name}",
        **options,
    )


def approval_tasks(environment: Environment, step: int, held: str) -> list[StepApproval]:
    """Make the tasks that ask for the approvals of a step, where the task `held` says that it needs them."""
    return [
        StepApproval(
            task_id=f"approval_{step}_{number}",
            subject=f"{environment.name}: {step} %",
            folder=pulled(f"{environment.name}.open_run"),
            reason=pulled(held),
        )
        for number in range(1, environment.required + 1)
    ]


def pulled(task_id: str) -> str:
    """Return the template of what a task returned."""
    return f"{{{{ ti.xcom_pull(task_ids='{task_id}') }}}}"


def runbook_dag(dag_id: str, waves: Sequence[Sequence[str | Path]], notebooks: Sequence[str] = NOTEBOOKS) -> DAG:
    """Make a DAG: the environments of a wave side by side, and a wave once all of the one before are done.

    `waves` are paths of parameters files, `notebooks` the numbers of the notebooks.
    """
    with DAG(dag_id, schedule=None, max_active_runs=1, default_args=RETRIES) as dag:
        before: list[TaskGroup] = []
        for wave in waves:
            groups = [environment_group(read_environment(file), notebooks) for file in wave]
            for group in groups:
                group.set_upstream(before)
            before = groups
    return dag
