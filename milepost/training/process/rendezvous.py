"""How the ranks of a group meet that are all on one host: on its loopback interface.

PyTorch's own store listens on every interface and asks nobody who he is: whoever reaches it can read and change what
ranks agree on. The one made here, and the connections of gloo and NCCL, cannot be reached from another machine.
"""

from __future__ import annotations

import os
import socket
from datetime import timedelta

ADDRESS = "127.0.0.1"
SECONDS = 1800.0
_INTERFACE_VARIABLES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")

_listener: socket.socket | None = None


def listen() -> int:
    """Listen for the other ranks. Called on rank 0, before any rank meets them. Returns the port."""
    global _listener
    _listener = socket.create_server((ADDRESS, 0))
    return int(_listener.getsockname()[1])


def meet(backend: str, rank: int, world_size: int, port: int) -> None:
    """Join PyTorch's default process group.

    Args:
        backend: of the group, `gloo` or `nccl`.
        port: where rank 0 listens, from `listen`.
    """
    import torch.distributed as dist

    global _listener
    for name in _INTERFACE_VARIABLES:
        os.environ.setdefault(name, loopback_interface())
    # Libraries that look whether there is a group read these.
    os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"] = ADDRESS, str(port)
    descriptor = None
    if rank == 0:
        assert _listener is not None, "listen comes first"
        # The store owns it from here on.
        descriptor, _listener = _listener.detach(), None
    patience = timedelta(seconds=SECONDS)
    store = dist.TCPStore(
        ADDRESS, port, world_size, rank == 0, patience, wait_for_workers=False, master_listen_fd=descriptor
    )
    dist.init_process_group(backend, store=store, rank=rank, world_size=world_size, timeout=patience)


def loopback_interface() -> str:
    """Name the loopback interface of this host: `lo` under Linux."""
    return next((name for _, name in socket.if_nameindex() if name.startswith("lo")), "lo")
