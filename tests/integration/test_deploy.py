"""What is in deploy/ is well formed, and says the same as the code."""

from __future__ import annotations

import re
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
import yaml

from milepost.eventlog.nats.server import BATCH_LIMITS
from milepost.installation.settings import SETTINGS

ROOT = Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
BIN = Path(sys.executable).parent
SERVICES = ("runtime", "trials", "metrics", "rules", "mlflow", "gateway")
# A run of an MLflow client is recorded by one process, and rules are evaluated by one, on disks of their own.
ALONE = frozenset({"mlflow", "rules"})
VARIABLES = {setting.variable for setting in SETTINGS}


@cache
def kustomize(overlay: str) -> str:
    command = [str(BIN / "kubectl"), "kustomize", str(DEPLOY / "kubernetes" / "overlays" / overlay)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout


def workloads(overlay: str = "production") -> list[dict[str, Any]]:
    """What runs our services."""
    resources = yaml.safe_load_all(kustomize(overlay))
    return [r for r in resources if r["kind"] in ("Deployment", "StatefulSet") and r["metadata"]["name"] in SERVICES]


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
    deployments = workloads()
    assert {d["metadata"]["name"] for d in deployments} == set(SERVICES)
    for deployment in deployments:
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["limits"]["memory"]
        assert {"readinessProbe", "livenessProbe", "startupProbe"} <= container.keys()
        alone = deployment["metadata"]["name"] in ALONE
        assert deployment["spec"]["replicas"] == 1 if alone else deployment["spec"]["replicas"] >= 2


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


def test_what_mlflow_clients_have_sent_outlives_the_process_that_took_it() -> None:
    """It is on a disk until it is in the log; the gateways pass on and keep nothing."""
    (mlflow,) = [w for w in workloads() if w["metadata"]["name"] == "mlflow"]
    pod = mlflow["spec"]["template"]["spec"]
    mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    (claim,) = mlflow["spec"]["volumeClaimTemplates"]
    assert claim["metadata"]["name"] == mounts["/var/lib/milepost"]
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]
    assert compose["mlflow"]["volumes"] == ["mlflow:/var/lib/milepost"]
    assert "volumes" not in compose["gateway"]
    assert variables_of(DEPLOY / "env" / "gateway.env")["MILEPOST_MLFLOW_ADDRESS"] == "mlflow:8476"


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
        assert services[name]["deploy"]["replicas"] == (1 if name in ALONE else 2)
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
    for workload in workloads():
        variables = workload["spec"]["template"]["spec"]["containers"][0].get("env", [])
        kubernetes |= {e["name"] for e in variables if e["name"].startswith("MILEPOST_")}
    assert compose - kubernetes <= {"MILEPOST_LOG_LEVEL"}
    assert kubernetes <= VARIABLES


def test_no_run_starts_beside_the_keys_of_an_installation() -> None:
    """The local launcher is off wherever deploy/ starts the runtime service."""
    assert variables_of(DEPLOY / "env" / "runtime.env")["MILEPOST_LOCAL_LAUNCHER"] == "off"
    for overlay in ("development", "production", "replicated"):
        maps = [r for r in yaml.safe_load_all(kustomize(overlay)) if r["kind"] == "ConfigMap"]
        (common,) = [r for r in maps if r["metadata"]["name"].startswith("milepost-common")]
        assert common["data"]["MILEPOST_LOCAL_LAUNCHER"] == "off"


# What every service verifies callers with, and speaks TLS with.
OF_EVERY_SERVICE = {
    "tls.crt", "tls.key", "ca.crt", "service.token", "sessions.key", "trainer-tokens.key", "tokens.json"
}  # fmt: skip
OWN_SECRETS: dict[str, set[str]] = {
    "runtime": {"nats-runtime.creds", "nats-authority.json", "bundles.key"},
    "trials": {"nats-trials.creds"},
    "metrics": {"nats-metrics.creds", "clickhouse-password"},
    "rules": {"nats-rules.creds"},
    "mlflow": {"nats-mlflow.creds"},
    "gateway": set(),
}


def test_each_pod_has_the_secrets_that_it_needs_and_no_others() -> None:
    """A service that was taken over does not have what the others have."""
    resources = list(yaml.safe_load_all(kustomize("production")))
    for deployment in workloads():
        name, pod = deployment["metadata"]["name"], deployment["spec"]["template"]["spec"]
        secrets = [v["secret"] for v in pod["volumes"] if "secret" in v]
        assert {s["secretName"] for s in secrets} <= {"milepost-credentials", "milepost-destinations", "ray"}
        assert [s["secretName"] for s in secrets].count("milepost-destinations") == (name == "rules")
        assert [s["secretName"] for s in secrets].count("ray") == (name == "runtime")
        (own,) = [s for s in secrets if s["secretName"] == "milepost-credentials"]
        assert {item["key"] for item in own["items"]} == OF_EVERY_SERVICE | OWN_SECRETS[name]
        assert all(item["key"] == item["path"] for item in own["items"])
        assert pod["automountServiceAccountToken"] is False
    (ray,) = [r for r in resources if r["kind"] == "RayCluster"]
    for group in (ray["spec"]["headGroupSpec"], *ray["spec"]["workerGroupSpecs"]):
        secrets = [v["secret"] for v in group["template"]["spec"]["volumes"] if "secret" in v]
        assert [item["key"] for secret in secrets for item in secret["items"]] == ["ca.crt"]
    # Only it asks the API server, for more workers.
    assert not ray["spec"]["workerGroupSpecs"][0]["template"]["spec"]["automountServiceAccountToken"]


def test_each_container_of_compose_has_the_secrets_that_it_needs_and_no_others() -> None:
    """As in Kubernetes, where the files have the same names."""
    content = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    expected: dict[str, set[str]] = {name: OF_EVERY_SERVICE | own for name, own in OWN_SECRETS.items()}
    # Those that are no files of `milepost token keys` have the names that Docker gives them.
    expected["runtime"] |= {"ray_token"}
    expected["metrics"] ^= {"clickhouse-password", "clickhouse_password"}
    expected["clickhouse"] = {"clickhouse_password"}
    expected["proxy"] = {f"/etc/milepost/tls/{file}" for file in ("tls.crt", "tls.key", "ca.crt")}
    expected |= {name: {"ray_token", "ca.crt"} for name in ("ray-head", "ray-worker")}
    expected |= {f"nats-{node}": {"/etc/nats/authorization.conf"} for node in range(3)}
    given = {
        name: {s if isinstance(s, str) else s["target"] for s in service.get("secrets", [])}
        for name, service in content["services"].items()
    }
    assert given == expected


def test_clickhouse_asks_for_a_password_and_the_metric_service_has_it() -> None:
    compose = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]["clickhouse"]
    assert "CLICKHOUSE_SKIP_USER_SETUP" not in compose["environment"]
    assert "CLICKHOUSE_PASSWORD=" in compose["entrypoint"][-1]
    resources = list(yaml.safe_load_all(kustomize("production")))
    (server,) = [r for r in resources if r["kind"] == "StatefulSet" and r["metadata"]["name"] == "clickhouse"]
    given = {e["name"]: e for e in server["spec"]["template"]["spec"]["containers"][0]["env"]}
    assert given["CLICKHOUSE_PASSWORD"]["valueFrom"]["secretKeyRef"]["key"] == "clickhouse-password"
    (metrics,) = [r for r in resources if r["kind"] == "Deployment" and r["metadata"]["name"] == "metrics"]
    told = {e["name"]: e["value"] for e in metrics["spec"]["template"]["spec"]["containers"][0]["env"]}
    for variables in (told, variables_of(DEPLOY / "env" / "metrics.env")):
        assert "@" not in variables["MILEPOST_CLICKHOUSE_URL"]
        assert variables["MILEPOST_CLICKHOUSE_PASSWORD_FILE"].startswith("/run/secrets/clickhouse")


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a selector of labels, as Kubernetes has them, chooses a pod."""
    terms = [(e["key"], e["values"]) for e in selector.get("matchExpressions", [])]
    terms += [(key, [value]) for key, value in selector.get("matchLabels", {}).items()]
    return all(labels.get(key) in values for key, values in terms)


def allowed(policies: list[dict[str, Any]], way: str, pod: dict[str, str], other: dict[str, str], port: int) -> bool:
    """Whether the policies of a pod let it speak with another one; `way` is `ingress` or `egress`."""
    own = [p["spec"] for p in policies if way.capitalize() in p["spec"]["policyTypes"]]
    own = [spec for spec in own if selects(spec["podSelector"], pod)]
    assert own, f"nothing confines {pod}"
    for rule in (rule for spec in own for rule in spec.get(way, [])):
        peers = rule.get("from" if way == "ingress" else "to")
        near = peers is None or any("podSelector" in p and selects(p["podSelector"], other) for p in peers)
        if near and ("ports" not in rule or port in [p["port"] for p in rule["ports"]]):
            return True
    return False


PODS = ("runtime", "trials", "metrics", "rules", "mlflow", "gateway", "nats", "clickhouse", "ray-head", "ray-worker")
CONNECTIONS = {
    *((name, "nats", 4222) for name in ("runtime", "trials", "metrics", "rules", "mlflow", "ray-head", "ray-worker")),
    *((one, name, port) for one in ("gateway", "mlflow")
      for name, port in (("runtime", 8471), ("trials", 8472), ("metrics", 8473))),
    ("gateway", "mlflow", 8476),
    ("gateway", "rules", 8477),
    ("rules", "runtime", 8471),
    ("rules", "metrics", 8473),
    *(("runtime", name, port) for name, port in (("trials", 8472), ("metrics", 8473), ("ray-head", 8265))),
    *((name, "runtime", 8471) for name in ("ray-head", "ray-worker")),
    *((one, other, port) for one in ("ray-head", "ray-worker") for other in ("ray-head", "ray-worker")
      for port in (8265, 6379) if (one, other) != ("ray-head", "ray-head")),
    ("metrics", "clickhouse", 8123),
    ("nats", "nats", 6222),
}  # fmt: skip
PORTS = {port for _, _, port in CONNECTIONS} | {8470, 9464, 9000, 8222}


def test_pods_speak_with_whom_they_must_and_nobody_else() -> None:
    """Both ends are asked: the egress of the one and the ingress of the other."""
    resources = list(yaml.safe_load_all(kustomize("production")))
    policies = [r for r in resources if r["kind"] == "NetworkPolicy"]
    labels = {name: {"app.kubernetes.io/name": name} for name in PODS}
    labels |= {name: {**labels[name], "milepost.dev/role": "service"} for name in SERVICES}
    found = {
        (one, other, port)
        for one in PODS for other in PODS for port in PORTS
        if allowed(policies, "egress", labels[one], labels[other], port)
        and allowed(policies, "ingress", labels[other], labels[one], port)
    }  # fmt: skip
    ray = ("ray-head", "ray-worker")
    assert {c for c in found if not (c[0] in ray and c[1] in ray)} == {
        c for c in CONNECTIONS if not (c[0] in ray and c[1] in ray)
    }
    assert {c for c in CONNECTIONS if c[0] in ray and c[1] in ray} <= found


def test_nobody_reaches_the_credentials_of_machines() -> None:
    """Clouds answer on a link-local address to whoever asks; inner networks are for those who name theirs."""
    policies = [r for r in yaml.safe_load_all(kustomize("production")) if r["kind"] == "NetworkPolicy"]
    blocks = [
        (p["metadata"]["name"], to["ipBlock"])
        for p in policies for rule in p["spec"].get("egress", []) for to in rule.get("to", []) if "ipBlock" in to
    ]  # fmt: skip
    assert {name for name, _ in blocks} == {"runtime-out", "rules-out", "ray-out", "ray-head-out"}
    for name, block in blocks:
        missing = {"0.0.0.0/0": {"169.254.0.0/16"}, "::/0": {"fe80::/10"}}[block["cidr"]]
        if name != "ray-head-out":
            missing = missing | {"0.0.0.0/0": {"10.0.0.0/8", "192.168.0.0/16"}, "::/0": {"fc00::/7"}}[block["cidr"]]
        assert missing <= set(block["except"]), name


def test_the_nodes_of_the_log_lose_nothing_at_a_power_cut() -> None:
    """`sync_interval: always` in every configuration of NATS that is shipped."""
    for path in (DEPLOY / "nats" / "nats.conf", DEPLOY / "kubernetes" / "base" / "nats.conf"):
        assert re.search(r"^\s*sync_interval: always$", path.read_text(), re.MULTILINE), path


def test_the_nodes_of_the_log_bound_open_batches_as_a_single_server_does() -> None:
    for path in (DEPLOY / "nats" / "nats.conf", DEPLOY / "kubernetes" / "base" / "nats.conf"):
        assert BATCH_LIMITS in path.read_text(), path


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
