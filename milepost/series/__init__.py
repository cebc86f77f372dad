"""Series of a trial as Arrow tables: what a notebook reads.

- `exports`: in pieces, as files. `samples`: rows beside them.
- `known`: what series of training libraries are called, in which unit and order.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.client import Client
from milepost.errors import FailedPrecondition


def read_series(
    client: Client, trial: str, keys: Sequence[str] = (), include_superseded: bool = False, ancestry: bool = False
) -> Any:
    """Read every point of series of a trial (`runtimes/rt-.../trials/1`); without keys, of all of them.

    Returns an Arrow table with the columns runtime, trial, attempt, superseded, key, step, time (UTC) and value, by
    step within each series. With `ancestry`, of a branch, the points of its ancestors too, under their runtime and trial.

    Raises:
        NotFound: there is no such trial.
        FailedPrecondition: pyarrow is not installed.
    """
    try:
        import pyarrow as pa
    except ImportError as error:
        raise FailedPrecondition("reading series needs pyarrow: pip install pyarrow", reason="NO_PYARROW") from error
    request = metric_api.ExportSeriesRequest(
        parents=[trial], keys=keys, include_superseded=include_superseded, ancestry=ancestry
    )
    content = io.BytesIO()
    for response in client.metrics.ExportSeries(request):
        content.write(response.arrow)
    return pa.ipc.open_stream(content.getvalue()).read_all()


def as_form(table: Any, form: str) -> Any:
    """Give a table as `arrow` or as `pandas`.

    Raises:
        FailedPrecondition: pandas is not installed.
        ValueError: it is another form.
    """
    if form == "arrow":
        return table
    if form != "pandas":
        raise ValueError(f"a series is given as 'arrow' or 'pandas', not {form!r}")
    try:
        return table.to_pandas()
    except ImportError as error:
        raise FailedPrecondition("a data frame needs pandas: pip install pandas", reason="NO_PANDAS") from error
