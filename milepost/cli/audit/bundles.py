"""What the command line says of a bundle: is it whole, does its state follow from its events, and who has signed it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from milepost.bundle import signer_of, verify_bundle
from milepost.cli.local.supervisor import child_environment
from milepost.eventlog.proof.chain import Finding


def examine(path: Path) -> tuple[list[Finding], int, str]:
    """Check a bundle as `verify_bundle` does, and what it says of the run against its events.

    Raises:
        NotABundle: the file is not one.
    """
    findings, count, runtime_id = verify_bundle(path)
    if not any(finding.is_open for finding in findings):
        findings += _state_findings(path)
    return findings, count, runtime_id


def _state_findings(path: Path) -> list[Finding]:
    """Have the read models of the services fold the events: only they know what these make of a run."""
    command = [sys.executable, "-P", "-m", "services.bundle_state", str(path)]
    done = subprocess.run(command, env=child_environment({}), capture_output=True, text=True, check=False)
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        return [Finding("state", 0, "", f"the events could not be folded: {reason[0]}")]
    return [Finding("state", 0, "", text) for text in json.loads(done.stdout)]


def signature_findings(path: Path, key: str) -> list[Finding]:
    """Compare who has signed a bundle with a public key that is known."""
    signer = signer_of(path)
    if signer == key:
        return []
    return [Finding("signature", 0, "", f"it is {signed_words(signer)}, and not by {key}")]


def signed_words(signer: str) -> str:
    """Say who has signed: a public key, or empty for nobody."""
    return f"signed by {signer}" if signer else "not signed"
