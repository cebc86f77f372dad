"""Lines of a log with those around them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from milepost.api.log.v1 import log_service_pb2 as log_api
from milepost.client import Client


def with_neighbours(
    client: Client, parent: str, found: Iterable[log_api.LogEntry], count: int, superseded: bool
) -> Iterator[log_api.LogEntry | None]:
    """Give each line that was found with `count` lines before and after it, whatever they say, as they came.

    A line is given once, though it stands near several that were found. None: lines are left out here.
    """
    everything = log_api.LogFilter(include_superseded=superseded)
    following = 0
    for entry in sorted(found, key=lambda line: line.cursor):
        request = log_api.QueryLogsRequest(parent=parent, filter=everything, cursor=entry.cursor, page_size=count)
        after = client.logs.QueryLogs(request)
        request.backwards = True
        before = client.logs.QueryLogs(request)
        if following and before.first_index > following:
            yield None
        near = sorted((*before.entries, entry, *after.entries), key=lambda line: line.cursor)
        for index, line in enumerate(near, before.first_index):
            if index >= following:
                yield line
                following = index + 1
