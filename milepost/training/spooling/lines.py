"""Levels of log lines."""

from __future__ import annotations

import logging

from milepost.api.telemetry.v1 import telemetry_pb2 as telemetry


def level_of(number: int) -> telemetry.LogLevel:
    """Name the level of a record of Python's `logging`."""
    if number >= logging.CRITICAL:
        return telemetry.LOG_LEVEL_CRITICAL
    if number >= logging.ERROR:
        return telemetry.LOG_LEVEL_ERROR
    if number >= logging.WARNING:
        return telemetry.LOG_LEVEL_WARNING
    return telemetry.LOG_LEVEL_INFO if number >= logging.INFO else telemetry.LOG_LEVEL_DEBUG
