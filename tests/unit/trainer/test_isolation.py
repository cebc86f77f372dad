"""User code keeps no rights it should not have, and its secrets stay out of logs and events."""

from __future__ import annotations

import json
import subprocess
import sys

from milepost.api.config.v1.configuration_pb2 import RuntimeConfiguration
from milepost.api.event.v1 import trial_events_pb2 as facts
from trainer.isolation import redact_payload, redactor

CONFIGURATION = RuntimeConfiguration()
CONFIGURATION.environment["TOKEN"].secret = "HF_TOKEN"
CONFIGURATION.environment["LONGER"].secret = "OTHER"
CONFIGURATION.environment["SHORT"].secret = "PIN"
CONFIGURATION.environment["PLAIN"].value = "not a secret"
ENVIRONMENT = {"TOKEN": "hf_abcdef", "LONGER": "hf_abcdef_and_more", "SHORT": "1", "PLAIN": "not a secret", "X": "hf_x"}


def test_values_of_secrets_become_their_names() -> None:
    redact = redactor(CONFIGURATION, ENVIRONMENT)
    assert redact("token hf_abcdef, again hf_abcdef.") == "token [secret HF_TOKEN], again [secret HF_TOKEN]."
    assert redact("hf_abcdef_and_more") == "[secret OTHER]"
    assert redact("step 1 of 10, not a secret") == "step 1 of 10, not a secret"


def test_the_words_of_facts_are_redacted() -> None:
    ended = facts.AttemptEnded(attempt=1, detail="ValueError: hf_abcdef is wrong")
    redact_payload(ended, redactor(CONFIGURATION, ENVIRONMENT))
    assert ended.detail == "ValueError: [secret HF_TOKEN] is wrong"
    redact_payload(facts.SnapshotStarted(attempt=1, reason=facts.SNAPSHOT_REASON_STOP), lambda text: "x")


def test_what_is_declared_is_redacted() -> None:
    redact = redactor(CONFIGURATION, {**ENVIRONMENT, "TOKEN": 'hf_"abcdef'})
    declared = facts.ParametersDeclared(
        attempt=1, parameters={"cfg": json.dumps('x hf_"abcdef'), "steps": "1"}, labels={"note": 'hf_"abcdef'}
    )
    redact_payload(declared, redact)
    assert dict(declared.parameters) == {"cfg": '"x [secret HF_TOKEN]"', "steps": "1"}
    assert dict(declared.labels) == {"note": "[secret HF_TOKEN]"}


def test_a_trainer_gains_no_rights_and_leaves_no_core_dump() -> None:
    program = (
        "import resource; from pathlib import Path; from trainer.isolation import confine; confine();"
        "print(resource.getrlimit(resource.RLIMIT_CORE), Path('/proc/self/oom_score_adj').read_text().strip());"
        "print([l.split()[1] for l in Path('/proc/self/status').read_text().splitlines() if l.startswith('NoNewPrivs')])"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert result.stdout.splitlines() == ["(0, 0) 500", "['1']"]
