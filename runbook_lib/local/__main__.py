"""The local mesh's own process: `python -m runbook_lib.local FOLDER`;
`supervisor.ensure` starts it.
"""

import gc
import sys
from pathlib import Path

from runbook_lib.local.supervisor import serve

# What moto makes while it is imported stays: looking through it again and again
# took a sixth of the time to start.
gc.set_threshold(50_000)
serve(Path(sys.argv[1]))
