"""Samples of a trial, page by page: what a notebook or a script reads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from milepost.api.metric.v1 import metric_service_pb2 as metric_api
from milepost.client import Client


def read_samples(client: Client, *trials: str, **filters: Any) -> Iterator[metric_api.Sample]:
    """Read the samples of trials (`runtimes/rt-.../trials/1`) that match, the newest first.

    Args:
        filters: fields of `ListSamplesRequest`, such as `text="tens"`, `scores=["reward >= 0.5"]`, `latest=True`.

    Raises:
        NotFound: there is no such trial.
        InvalidArgument: a filter is none.
    """
    request = metric_api.ListSamplesRequest(parents=trials, **filters)
    while True:
        answer = client.metrics.ListSamples(request)
        yield from answer.samples
        if not answer.next_page_token:
            return
        request.page_token = answer.next_page_token
