"""A store of records in S3: `records: s3://BUCKET/PREFIX` of a parameters file.

Calls sign with the credentials that were proved for the environment. Encryption, access
and lifetime are the bucket's own settings: none is set here.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from botocore.exceptions import ClientError

from runbook_lib.aws.calls import Calls
from runbook_lib.errors import CallError
from runbook_lib.record import Store

THERE = "PreconditionFailed"
AT_ONCE = "ConditionalRequestConflict"  # somebody else adds it just now
TRIES = 3


@dataclass(frozen=True)
class Bucket:
    """Files in a bucket, below a prefix. A `Store`."""

    calls: Calls
    where: str

    def folders(self, under: str) -> list[str]:
        """Return the names of the folders directly in a folder."""
        start = self._key(f"{under}/")
        pages = self._pages(Prefix=start, Delimiter="/")
        found = [each for page in pages for each in page.get("CommonPrefixes", [])]
        return [each["Prefix"].removeprefix(start).rstrip("/") for each in found]

    def files(self, under: str) -> Mapping[str, str]:
        """Return every file below a folder, with its entity tag."""
        start = self._key(f"{under}/")
        found = [
            e for page in self._pages(Prefix=start) for e in page.get("Contents", [])
        ]
        return {each["Key"].removeprefix(start): each["ETag"] for each in found}

    def read(self, names: Sequence[str]) -> list[bytes]:
        """Return the contents of files, in their order, a few asked for at a time."""
        return self.calls.beside([partial(self._read, name) for name in names])

    def add(self, name: str, content: bytes) -> bool:
        """Put a file where there is none; return whether it was put."""
        for _ in range(TRIES):
            try:
                self._ask("put_object", Key=name, Body=content, IfNoneMatch="*")
            except CallError as error:
                if _code(error) == AT_ONCE:
                    continue
                if _code(error) == THERE:
                    return False
                raise
            return True
        return False

    def put(self, name: str, content: bytes) -> str:
        """Put a file, in place of what is there; return its entity tag."""
        return str(self._ask("put_object", Key=name, Body=content).get("ETag"))

    def _read(self, name: str) -> bytes:
        content: bytes = self._ask("get_object", Key=name)["Body"].read()
        return content

    def _pages(self, **arguments: Any) -> Iterator[Mapping[str, Any]]:
        after: dict[str, str] = {}
        while True:
            named = {"Bucket": self._named[0], **arguments, **after}
            page = self.calls.call_store("list_objects_v2", named)
            yield page
            if not page.get("IsTruncated"):
                return
            after = {"ContinuationToken": page["NextContinuationToken"]}

    def _ask(self, operation: str, Key: str, **arguments: Any) -> Any:
        named = {"Bucket": self._named[0], "Key": self._key(Key), **arguments}
        return self.calls.call_store(operation, named)

    @property
    def _named(self) -> tuple[str, str]:
        bucket, _, prefix = self.where.removeprefix("s3://").partition("/")
        return bucket, prefix

    def _key(self, name: str) -> str:
        prefix = self._named[1]
        return f"{prefix}/{name}" if prefix else name


def bucket_of(calls: Calls) -> Store | None:
    """Return where an environment's file has its records kept; None where that is a
    folder.
    """
    where = calls.parameters.bucket
    return Bucket(calls, where) if where else None


def _code(error: CallError) -> str:
    cause = error.__cause__
    return (
        str(cause.response["Error"]["Code"]) if isinstance(cause, ClientError) else ""
    )
