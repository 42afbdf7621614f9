"""The local mesh's own process: `python -m runbook_lib.local FOLDER`;
`supervisor.ensure` starts it.
"""

import sys
from pathlib import Path

from runbook_lib.local.supervisor import serve

serve(Path(sys.argv[1]))
