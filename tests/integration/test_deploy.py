"""What is in deploy/ is well formed, and says the same as the code."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import yaml

from milepost.settings import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
SERVICES = ("runtime", "trials", "metrics", "gateway")
VARIABLES = {setting.variable for setting in SETTINGS}


def kustomize(overlay: str) -> str:
    command = [str(BIN / "kubectl"), "kustomize", str(DEPLOY / "kubernetes" / "overlays" / overlay)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


@pytest.mark.parametrize("overlay", ["development", "production", "replicated"])
def test_overlays_build_and_fit_the_schemas_of_kubernetes(overlay: str, tmp_path: Path) -> None:
    """Every resource but KubeRay's own passes the strict schemas."""
    rendered = tmp_path / "all.yaml"
    rendered.write_text(kustomize(overlay))
    command = [str(BIN / "kubernetes-validate"), "--strict", str(rendered)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=110)
    assert result.returncode == 0, result.stdout + result.stderr
    passed = len(re.findall(r"passed for resource", result.stdout + result.stderr))
    resources = [r for r in yaml.safe_load_all(rendered.read_text()) if r["kind"] != "RayCluster"]
    assert passed == len(resources)


def test_every_service_of_kubernetes_is_probed_confined_and_bounded() -> None:
    """Non-root, read-only root, no capabilities, limits, all three probes."""
    deployments = [r for r in yaml.safe_load_all(kustomize("production")) if r["kind"] == "Deployment"]
    assert {d["metadata"]["name"] for d in deployments} == set(SERVICES)
    for deployment in deployments:
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert {"readinessProbe", "livenessProbe", "startupProbe"} <= container.keys()
        assert deployment["spec"]["replicas"] >= 2


def test_a_replica_that_stands_by_gets_no_calls_and_holds_up_no_drain() -> None:
    """Only the metric service that leads is ready, so it is replaced whole and has no disruption budget."""
    resources = list(yaml.safe_load_all(kustomize("production")))
    (metrics,) = [r for r in resources if r["kind"] == "Deployment" and r["metadata"]["name"] == "metrics"]
    (container,) = metrics["spec"]["template"]["spec"]["containers"]
    assert "--answers" in container["readinessProbe"]["exec"]["command"]
    assert "--answers" not in container["startupProbe"]["exec"]["command"]
    assert metrics["spec"]["strategy"]["type"] == "Recreate"
    budgets = {r["metadata"]["name"] for r in resources if r["kind"] == "PodDisruptionBudget"}
    assert budgets == {"runtime", "trials", "gateway", "nats"}


def test_replicated_tables_have_a_cluster_to_be_on() -> None:
    """The name that the metric service uses is one that the servers know, with macros, Keeper and as many servers."""
    resources = list(yaml.safe_load_all(kustomize("replicated")))
    maps = [r for r in resources if r["kind"] == "ConfigMap"]
    (common,) = [r for r in maps if r["metadata"]["name"].startswith("milepost-common")]
    (cluster,) = [r for r in maps if r["metadata"]["name"].startswith("clickhouse-cluster")]
    (servers,) = [r for r in resources if r["kind"] == "StatefulSet" and r["metadata"]["name"] == "clickhouse"]
    root = ET.fromstring(cluster["data"]["cluster.xml"])
    name = common["data"]["MILEPOST_CLICKHOUSE_CLUSTER"]
    replicas = root.findall(f"remote_servers/{name}/shard/replica/host")
    keepers = root.findall("keeper_server/raft_configuration/server/hostname")
    expected = [f"clickhouse-{index}.clickhouse" for index in range(servers["spec"]["replicas"])]
    assert [host.text for host in replicas] == [host.text for host in keepers] == expected
    assert {macro.tag for macro in root.findall("macros/*")} == {"shard", "replica"}


def test_anchors_outlive_the_runtime_service() -> None:
    """Without them nobody would notice that the log lost its past."""
    resources = list(yaml.safe_load_all(kustomize("production")))
    (runtime,) = [r for r in resources if r["kind"] == "Deployment" and r["metadata"]["name"] == "runtime"]
    pod = runtime["spec"]["template"]["spec"]
    mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert "persistentVolumeClaim" in volumes[mounts["/var/lib/milepost/anchors"]]
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["runtime"]
    assert "anchors:/var/lib/milepost/anchors" in compose["volumes"]


def test_the_compose_file_fits_its_schema() -> None:
    """The schema is the one of the compose specification."""
    command = [str(BIN / "check-jsonschema"), "--builtin-schema", "vendor.compose-spec", str(DEPLOY / "compose.yaml")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout


def test_compose_runs_spare_services_and_three_nodes_of_the_log() -> None:
    """The topology that docs/operations.md describes."""
    services = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert {name for name in services if name.startswith("nats-")} == {"nats-0", "nats-1", "nats-2"}
    for name in SERVICES:
        assert services[name]["command"] == [f"services.{name}"]
        assert services[name]["deploy"]["replicas"] == 2
        assert services[name]["read_only"] is True


def variables_of(path: Path) -> dict[str, str]:
    lines = [line for line in path.read_text().splitlines() if line and not line.startswith("#")]
    return dict(line.split("=", 1) for line in lines)


def test_environment_files_name_settings_that_exist() -> None:
    """A renamed setting does not go unnoticed in a deployment."""
    for path in sorted((DEPLOY / "env").glob("*.env")):
        unknown = {name for name in variables_of(path) if name.startswith("MILEPOST_")} - VARIABLES
        assert not unknown, f"{path.name}: {unknown}"


def test_kubernetes_and_compose_set_the_same_variables() -> None:
    """They differ in addresses only."""
    compose = set().union(*(variables_of(path) for path in (DEPLOY / "env").glob("*.env")))
    kubernetes: set[str] = set()
    for resource in yaml.safe_load_all(kustomize("production")):
        if resource["kind"] == "ConfigMap" and resource["metadata"]["name"].startswith("milepost-common"):
            kubernetes |= set(resource["data"])
        if resource["kind"] == "Deployment":
            variables = resource["spec"]["template"]["spec"]["containers"][0].get("env", [])
            kubernetes |= {e["name"] for e in variables if e["name"].startswith("MILEPOST_")}
    assert compose - kubernetes <= {"MILEPOST_LOG_LEVEL"}
    assert kubernetes <= VARIABLES


def test_the_nodes_of_the_log_lose_nothing_at_a_power_cut() -> None:
    """`sync_interval: always` in every configuration of NATS that is shipped."""
    for path in (DEPLOY / "nats" / "nats.conf", DEPLOY / "kubernetes" / "base" / "nats.conf"):
        assert re.search(r"^\s*sync_interval: always$", path.read_text(), re.MULTILINE), path


def metric_names_in_code() -> set[str]:
    """Names as Prometheus shows them, without the suffixes of counters and histograms."""
    names = set()
    for path in [*(ROOT / "services").rglob("*.py"), *(ROOT / "milepost").rglob("*.py")]:
        text = path.read_text()
        names |= {n.replace(".", "_") for n in re.findall(r'observability\.\w+\(\s*"(milepost\.[a-z.]+)"', text)}
        names |= set(re.findall(r'(?:Counter|Gauge|Histogram)\(\s*"(milepost_[a-z_]+)"', text))
    return names


def test_alerts_and_dashboard_ask_for_metrics_that_exist() -> None:
    """An alert on a metric that nobody writes never fires."""
    known = metric_names_in_code()
    rules = (DEPLOY / "prometheus" / "rules.yaml").read_text()
    asked = set(re.findall(r"milepost_[a-z_]+", rules + (DEPLOY / "grafana" / "milepost.json").read_text()))
    for name in asked:
        base = re.sub(r"_(bucket|count|sum|total)$", "", name).removesuffix("_seconds").removesuffix("_bytes")
        assert base in known, f"{name} is not written by any service"


def test_every_alert_has_its_part_in_the_runbook() -> None:
    """Whoever is woken finds what to do."""
    headings = re.findall(r"^## (.+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    anchors = {re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    groups = yaml.safe_load((DEPLOY / "prometheus" / "rules.yaml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert rules
    for rule in rules:
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/runbook.md" and anchor in anchors, rule["alert"]
