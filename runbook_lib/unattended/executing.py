"""Execute one notebook through papermill, and keep on the disk what it shows.

A signal interrupts the cell that runs. The file has no secret in it, and a disk that
does not take it ends no cell.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# For notebooks' schema, jsonschema would compile the grammar of IRIs: a second of each
# command. It does without.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

import nbformat
import papermill
from papermill.clientwrap import PapermillNotebookClient
from papermill.engines import Engine, papermill_engines
from papermill.exceptions import PapermillExecutionError
from papermill.log import logger

from runbook_lib import parameters
from runbook_lib.private import replace_privately
from runbook_lib.redaction import MASK, redacted
from runbook_lib.unattended.interrupts import Interrupts
from runbook_lib.unattended.notebooks import FOLDER
from runbook_lib.unattended.progress import Told

__all__ = ["DEAD", "INTERRUPTED", "Failure", "Kept", "execute"]

WIDGET = "application/vnd.jupyter.widget-view+json"
DEAD = "DeadKernelError"
KERNEL_DIED = "the kernel died; what it had changed is in the record"
OUTPUT_SECONDS = 60  # what a cell showed comes late on a busy machine
OUTPUT_MISSING = (
    f"what the cell showed did not come within {OUTPUT_SECONDS} s of its end; what it "
    "had changed is in the record"
)
INTERRUPTED = (
    "interrupted: nothing more was done, and what was changed is in the record\nNext: "
    "run again to go on"
)


@dataclass(frozen=True, slots=True)
class Failure:
    """The cell that ended a run: its number and source, and the error in words."""

    notebook: str
    cell: int
    source: str
    error: str
    message: str
    reason: str = ""  # in one word, where no cell has left it in the record


@dataclass
class Kept:
    """An executed notebook on the disk, without secrets: as it was when the
    disk last took it.
    """

    file: Path
    notebook: Any = None
    trouble: str = ""

    def save(self) -> None:
        """Write the notebook as it is now. A cell that watches traffic must not end
        because a file cannot be.
        """
        if self.notebook is None:
            return
        text: str = nbformat.writes(self.notebook)  # type: ignore[no-untyped-call]
        masked = json.dumps(_masked(json.loads(text)), indent=1, ensure_ascii=False)
        try:
            replace_privately(self.file, masked + "\n")
            self.trouble = ""
        except OSError as error:
            self.trouble = (
                f"{self.file.name} cannot be written: {error.strerror or error}"
            )


def execute(
    path: Path,
    output: Path,
    given: Mapping[str, Any],
    told: Told,
    interrupts: Interrupts,
) -> Failure | None:
    """Execute the notebook at `path` with the values `given`, into the file `output`;
    return the failure that ended it, None where it came to its end.
    """
    name, kept = output.stem, Kept(output)

    def died(message: str) -> Failure:
        return Failure(name, 0, "", DEAD, message)

    try:
        papermill.execute_notebook(
            path,
            None,
            parameters=dict(given),
            engine_name="watched",
            kept=kept,
            tell=lambda done, total: told.cell(name, done, total),
            interrupts=interrupts,
            progress_bar=False,
            cwd=FOLDER,
        )
    except PapermillExecutionError as error:
        words = INTERRUPTED if error.ename == "KeyboardInterrupt" else error.evalue
        return Failure(name, error.exec_count or 0, error.source, error.ename, words)
    except KeyboardInterrupt:  # a signal between two cells, or a second one
        return Failure(name, 0, "", "KeyboardInterrupt", INTERRUPTED)
    except RuntimeError:  # nbclient's DeadKernelError, or the kernel never came up
        return died(KERNEL_DIED)
    except TimeoutError:  # an OSError too
        return died(OUTPUT_MISSING)
    except OSError as error:  # of the kernel's own files
        return died(f"no kernel could be started: {error.strerror or error}")
    finally:
        kept.save()
        if kept.trouble:
            told.word(kept.trouble)
    return None


class Client(PapermillNotebookClient):  # type: ignore[misc]  # papermill ships no types
    """Papermill's own client, whose kernel a signal interrupts, and which
    tells after each cell.
    """

    interrupts: Interrupts
    tell: Callable[[int, int], None]

    def execute_cell(self, cell: Any, cell_index: int, **options: Any) -> Any:
        """Execute a cell, within reach of signals; then tell how many are
        done, of how many.
        """
        with self.interrupts.reaching(self.km.provisioner.pid):
            done = super().execute_cell(cell, cell_index, **options)
        self.tell(cell_index + 1, len(self.nb.cells))
        return done


class Watched(Engine):  # type: ignore[misc]  # papermill ships no types
    """Papermill's engine with this client, and with files that a full disk does
    not end a cell by.
    """

    @classmethod
    def execute_managed_notebook(
        cls,
        nb_man: Any,
        kernel_name: str,
        tell: Callable[[int, int], None],
        interrupts: Interrupts,
        kept: Kept,
        **_: Any,
    ) -> None:
        """Execute a notebook."""
        kept.notebook = nb_man.nb
        nb_man.nb.metadata.papermill["output_path"] = str(kept.file)
        nb_man.save = lambda **_: kept.save()
        client = Client(
            nb_man,
            kernel_name=kernel_name,
            timeout=None,
            startup_timeout=60,
            iopub_timeout=OUTPUT_SECONDS,
            log=logger,
        )
        client.interrupts, client.tell = interrupts, tell
        # A kernel is interrupted before it is shut down, and would call that an error.
        client.extra_arguments = ["--IPKernelApp.log_level=CRITICAL"]
        tell(0, len(nb_man.nb.cells))
        # Of its cells all is in the notebook; this would be of its sockets, as it ends.
        client.execute(stderr=subprocess.DEVNULL)


papermill_engines.register("watched", Watched)

# Any parameter of the file may be given, whether or not a notebook's own cell names it;
# what nothing knows was refused before.
logger.addFilter(lambda said: not said.getMessage().startswith("Passed unknown param"))


def _masked(book: Any) -> Any:
    """Return a notebook without secret-shaped text, and without values given under
    names that nothing knows.
    """
    book = redacted(book)
    given = book["metadata"].get("papermill", {}).get("parameters", {})
    unknown = [name for name in given if name not in parameters.parameter_names()]
    given |= dict.fromkeys(unknown, MASK)
    for cell in book["cells"]:
        _drop_widgets(cell.get("outputs", []))
        if "injected-parameters" in cell["metadata"].get("tags", []):
            cell["source"] = _without_values("".join(cell["source"]), unknown)
    return book


def _drop_widgets(outputs: Sequence[dict[str, Any]]) -> None:
    """Leave of a widget what a reader sees who has not its kernel: nobody will have."""
    for output in outputs:
        data = output.get("data", {})
        if len(data) > 1:
            data.pop(WIDGET, None)


def _without_values(source: str, names: Sequence[str]) -> str:
    """Return papermill's injected cell with these names' values masked; each
    assignment is one line.
    """
    lines = [(line, line.partition(" = ")[0]) for line in source.splitlines()]
    return "\n".join(
        f'{name} = "{MASK}"' if name in names else line for line, name in lines
    )
