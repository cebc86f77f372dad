"""A Ray instance of this machine, for as long as its standard input is open: prints its address when it is there."""

import os
import sys

folder, cpus = sys.argv[1], int(sys.argv[2])
os.environ.update(RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0", RAY_USAGE_STATS_ENABLED="0", RAY_AUTH_MODE="token")

import ray  # noqa: E402

context = ray.init(
    address="local",
    num_cpus=cpus,
    include_dashboard=False,
    log_to_driver=False,
    object_store_memory=200 << 20,
    _temp_dir=folder,
)
print(context.address_info["gcs_address"], flush=True)
sys.stdin.read()
ray.shutdown()
