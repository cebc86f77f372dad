"""What can be set: flags, then `MILEPOST_*` variables, then a file, then defaults; each value knows its origin."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from milepost.installation import data_folder

LOOPBACK = "127.0.0.1"


class InvalidSettings(Exception):
    """The settings file is not readable or names unknown settings; the message says which."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its name in files, its flag and variable follow from it."""

    name: str
    default: str
    description: str

    @property
    def variable(self) -> str:
        return "MILEPOST_" + self.name.upper()

    @property
    def flag(self) -> str:
        return "--" + self.name.replace("_", "-")


SETTINGS = (
    Setting("data_dir", "", "folder that holds everything; empty: ./.milepost where it exists, else ~/.milepost"),
    Setting("nats_url", f"nats://{LOOPBACK}:8474", "address of the NATS server; several are joined by commas"),
    Setting("gateway_listen", f"{LOOPBACK}:8470", "host:port the gateway binds; port 0 takes a free one"),
    Setting("runtime_listen", f"{LOOPBACK}:8471", "host:port the runtime service binds"),
    Setting("trials_listen", f"{LOOPBACK}:8472", "host:port the trial service binds"),
    Setting("metrics_listen", f"{LOOPBACK}:8473", "host:port the metric service binds"),
    Setting("rules_listen", f"{LOOPBACK}:8477", "host:port the rule service binds"),
    Setting(
        "mlflow_listen", f"{LOOPBACK}:8476", "host:port the MLflow service binds, where it is a process of its own"
    ),
    Setting(
        "gateway_hosts", "", "host names, joined by commas, by which browsers know the gateway besides its address"
    ),
    Setting(
        "trusted_proxies",
        "",
        "addresses and networks, joined by commas, of the proxies before the gateway whose X-Forwarded-For says where a "
        "request came from; empty: none",
    ),
    Setting("gateway_address", f"{LOOPBACK}:8470", "host:port at which clients reach the gateway"),
    Setting("runtime_address", f"{LOOPBACK}:8471", "host:port at which clients reach the runtime service"),
    Setting("trials_address", f"{LOOPBACK}:8472", "host:port at which clients reach the trial service"),
    Setting("metrics_address", f"{LOOPBACK}:8473", "host:port at which clients reach the metric service"),
    Setting("rules_address", f"{LOOPBACK}:8477", "host:port at which clients reach the rule service"),
    Setting(
        "mlflow_address",
        "",
        "host:port at which the gateway reaches the MLflow service; empty: it answers MLflow's clients itself",
    ),
    Setting("anchor_file", "", "second file for the anchors of the event log, on another disk; empty: none"),
    Setting("anchor_url", "", "address of HTTP to which each anchor is sent too, for an outside witness; empty: none"),
    Setting(
        "destinations_file",
        "",
        "file of the destinations that rules may tell; empty: destinations.yaml in the data directory",
    ),
    Setting("page_url", "", "address of the page, for links in what is told; empty: that of the gateway"),
    Setting(
        "egress",
        "",
        "where services connect for storage, code and destinations, joined by commas: `public`, `private`, "
        "hosts, *.domain, networks; empty: both, or `public` where tokens are asked for",
    ),
    Setting("clickhouse_url", "", "http(s)://user:password@host:port/database of a ClickHouse server; empty: embedded"),
    Setting(
        "clickhouse_password_file",
        "",
        "file with the password of that server, in place of one in its address; empty: none",
    ),
    Setting(
        "clickhouse_cluster", "", "name of the ClickHouse cluster over which tables are replicated; empty: one server"
    ),
    Setting("ray_address", "", "dashboard address of a Ray cluster for the `ray` launcher; empty: none"),
    Setting(
        "ray_token_file",
        "",
        "file with the token of that cluster; empty: RAY_AUTH_TOKEN_PATH, if RAY_AUTH_MODE is token",
    ),
    Setting("ray_runtime_address", "", "host:port at which its nodes reach the runtime service; empty: as others do"),
    Setting("ray_nats_url", "", "address at which its nodes reach NATS; empty: nats_url"),
    Setting("ray_python", "python", "the Python of its nodes in which milepost[trainer] is installed"),
    Setting("ray_work_dir", "/tmp/milepost", "folder on the disk of its nodes for spools and unpacked code"),
    Setting("ray_cpus", "", "CPUs to which that cluster may grow; empty: what it has"),
    Setting("ray_gpus", "", "GPUs to which that cluster may grow; empty: what it has"),
    Setting("ray_memory_gigabytes", "", "memory to which that cluster may grow, 10^9 bytes; empty: what it has"),
    Setting(
        "slurm_command",
        "",
        "how the commands of Slurm are run for the `slurm` launcher: `local`, or what to put before them, such as "
        "`ssh login`; empty: there is no Slurm",
    ),
    Setting("slurm_runtime_address", "", "host:port at which its nodes reach the runtime service; empty: as others do"),
    Setting("slurm_nats_url", "", "address at which its nodes reach NATS; empty: nats_url"),
    Setting("slurm_python", "python3", "the Python of its nodes in which milepost[trainer] is installed"),
    Setting("slurm_work_dir", "/tmp/milepost", "folder on the disk of its nodes for spools and unpacked code"),
    Setting(
        "slurm_output_dir",
        "",
        "folder for what jobs print, which nodes and commands see; empty: the data directory, which they then must see",
    ),
    Setting("slurm_setup", "", "file on the nodes that the script of a job reads first, as for modules; empty: none"),
    Setting("authentication", "loopback", "`loopback`: on loopback no token is needed; `required`: it is everywhere"),
    Setting("tokens_file", "", "file of the tokens of people and programs; empty: tokens.json in the data directory"),
    Setting("keys_dir", "", "folder of the keys of the services; empty: keys in the data directory"),
    Setting("tls_certificate", "", "PEM file with the certificate chain of this process; empty: no TLS"),
    Setting("tls_key", "", "PEM file with the key of that certificate"),
    Setting("tls_client_ca", "", "PEM file with the authority whose certificates callers must show; empty: none"),
    Setting("tls_ca", "", "PEM file with the authority to trust; empty: the system's, and no TLS on loopback"),
    Setting(
        "local_launcher",
        "",
        "whether runs start on the host of the runtime service: `on`, `off`, or `on-with-readable-keys`, where every run can "
        "read the keys of the installation and make itself admin; empty: `on` where nobody is asked for a token or "
        "local_user is set, else `off`",
    ),
    Setting(
        "local_user", "", "user of this host as whom these runs run, which needs root; empty: as the runtime service"
    ),
    Setting("local_cpus", "", "CPUs of this host that trainers may use; empty: all"),
    Setting("local_gpus", "", "number of GPUs of this host that trainers may use; empty: all that are found"),
    Setting("local_memory_gigabytes", "", "memory of this host that trainers may use, 10^9 bytes; empty: all"),
    Setting("restore_days", "7", "days for which a deleted run can be undeleted; then its data is removed. 0: at once"),
    Setting("replicas", "1", "replicas of the streams: 1 for one NATS server, 3 in production"),
    Setting(
        "store_megabytes",
        "",
        "2^20 bytes that the streams share when they are made, so that the log has a limit of its own below that of the "
        "server; empty: `milepost up` takes what its disk has, others set none",
    ),
    Setting("monitoring_listen", "", "host:port at which a service answers Prometheus; empty: nowhere"),
    Setting("log_level", "INFO", "DEBUG, INFO, WARNING or ERROR"),
)


@dataclass(frozen=True, slots=True)
class Value:
    """A value and where it came from: `flag`, `environment`, `file`, `default`, or `this folder` for the data folder."""

    text: str
    origin: str


class Settings(Mapping[str, str]):
    """The settings of a process, each with its origin."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = dict(values)

    def __getitem__(self, name: str) -> str:
        return self._values[name].text

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def origin(self, name: str) -> str:
        return self._values[name].origin

    @property
    def data_dir(self) -> Path:
        return Path(self["data_dir"]).expanduser().absolute()

    @property
    def tokens_file(self) -> Path:
        return Path(self["tokens_file"] or self.data_dir / "tokens.json").expanduser().absolute()

    @property
    def keys_dir(self) -> Path:
        return Path(self["keys_dir"] or self.data_dir / "keys").expanduser().absolute()


def collect(flags: Mapping[str, str | None], environment: Mapping[str, str]) -> Settings:
    """Collect the settings of a process. `flags` may also name the settings file, as `config`.

    Raises:
        InvalidSettings: the settings file is not readable, or names what is no setting.
    """
    from_file = read_file(flags.get("config") or environment.get(data_folder.CONFIG_VARIABLE))
    values = {}
    for setting in SETTINGS:
        flag = flags.get(setting.name)
        if flag is not None:
            values[setting.name] = Value(flag, "flag")
        elif setting.variable in environment:
            values[setting.name] = Value(environment[setting.variable], "environment")
        elif setting.name in from_file:
            values[setting.name] = Value(str(from_file[setting.name]), "file")
        else:
            values[setting.name] = Value(setting.default, "default")
    if not values["data_dir"].text:
        found = data_folder.unnamed()
        values["data_dir"] = Value(str(found.path), found.origin)
    return Settings(values)


def read_file(path: str | None) -> dict[str, object]:
    """Read a file of settings; empty where none is named.

    Raises:
        InvalidSettings: it is not readable, or names what is no setting.
    """
    if not path:
        return {}
    try:
        content = yaml.safe_load(Path(path).expanduser().read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise InvalidSettings(f"the settings file {path} is not readable: {error}") from error
    if not isinstance(content, dict):
        raise InvalidSettings(f"the settings file {path} must be a mapping of names to values")
    unknown = sorted(set(content) - {setting.name for setting in SETTINGS})
    if unknown:
        raise InvalidSettings(f"the settings file {path} has unknown settings: {', '.join(map(str, unknown))}")
    return content
