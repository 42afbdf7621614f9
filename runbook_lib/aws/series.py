"""Say what is counted of a shift: CloudWatch series, and what they can show. Pure.

An engine says which series there are; `telemetry` alone reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

NOBODY = ""
"""Under whose name the errors stand that are counted for neither version."""


@dataclass(frozen=True, slots=True)
class Series:
    """One CloudWatch metric by its name and dimensions.

    `namespace` is where it is published, "" for the one the parameters name; `stat` is
    the statistic that makes a count of it, "" where nothing is read.
    """

    metric: str
    dimensions: Mapping[str, str]
    namespace: str = ""
    stat: str = "Sum"


OF_GRPC = "gRPC failures travel in trailers of HTTP 200, which no 5XX metric counts"


@dataclass(frozen=True, slots=True)
class Counted:
    """Whether a shift's requests and their errors are counted at all, and in words what
    is counted or why not.
    """

    requests: bool
    errors: bool
    words: str
