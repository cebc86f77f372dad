"""When runs start on the machine of the runtime service: where nobody is asked for a token, or where it was switched on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from milepost.installation.settings import Settings, collect
from services.runtime.launchers.local_runs import NOT_SWITCHED_ON, SWITCHED_OFF, local_policy

REQUIRED = {"authentication": "required"}
OTHERS_REACH_IT = {"gateway_listen": "0.0.0.0:8470"}


def settings_of(folder: Path, **changes: str) -> Settings:
    return collect({"data_dir": str(folder), **changes}, {})


@pytest.mark.parametrize(
    ("changes", "off"),
    [
        ({}, ""),
        ({"local_launcher": "on"}, ""),
        ({"local_launcher": "off"}, SWITCHED_OFF),
        (REQUIRED, NOT_SWITCHED_ON),
        (OTHERS_REACH_IT, NOT_SWITCHED_ON),
        ({**REQUIRED, "local_launcher": "off"}, SWITCHED_OFF),
        ({**REQUIRED, "local_launcher": "on-with-readable-keys"}, ""),
    ],
)
def test_it_is_off_where_tokens_are_asked_for_until_somebody_says_otherwise(
    changes: dict[str, str], off: str, tmp_path: Path
) -> None:
    policy = local_policy(settings_of(tmp_path, **changes))
    assert (policy.off, policy.user) == (off, None)


@pytest.mark.parametrize("asks", [REQUIRED, OTHERS_REACH_IT])
def test_nobody_switches_it_on_with_readable_keys_by_mistake(asks: dict[str, str], tmp_path: Path) -> None:
    with pytest.raises(
        SystemExit, match=r"make itself admin.*--local-user NAME.*--local-launcher on-with-readable-keys"
    ):
        local_policy(settings_of(tmp_path, local_launcher="on", **asks))


def test_a_setting_that_says_nothing_or_two_things_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="local_launcher is on, off or on-with-readable-keys, not 'yes'"):
        local_policy(settings_of(tmp_path, local_launcher="yes"))
    with pytest.raises(SystemExit, match="drop one"):
        local_policy(settings_of(tmp_path, local_launcher="on-with-readable-keys", local_user="nobody"))


def test_a_user_for_runs_must_be_one_that_can_do_less(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="there is no user no-such-user"):
        local_policy(settings_of(tmp_path, local_user="no-such-user", **REQUIRED))
    with pytest.raises(SystemExit, match="root is root"):
        local_policy(settings_of(tmp_path, local_user="root", **REQUIRED))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit, match="only root can start programs as another user"):
        local_policy(settings_of(tmp_path, local_user="nobody", **REQUIRED))
