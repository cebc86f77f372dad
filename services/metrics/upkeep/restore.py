"""Entry point: `python -m services.metrics.upkeep.restore FOLDER OLD NEW` puts the rows of a backup into an empty ClickHouse.

OLD and NEW are the identities that TELEMETRY had, and has now. Which ClickHouse it is, the settings of the metric
service say. `milepost restore` runs it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from functools import partial
from pathlib import Path

from services import settings as service_settings
from services.metrics.storage.owner import DirectoryHeld
from services.metrics.storage.store import StoreFailed, StoreUnavailable, open_embedded, open_server
from services.metrics.upkeep.backup import NotEmpty, restore
from services.settings import Settings


async def run(settings: Settings, folder: Path, old_stream: int, new_stream: int) -> dict[str, int]:
    address = settings["clickhouse_url"]
    open_store = (
        partial(open_server, address, settings["clickhouse_cluster"], settings["clickhouse_password_file"])
        if address
        else partial(open_embedded, settings.data_dir / "clickhouse")
    )
    store = await open_store()
    try:
        return await restore(store, folder, old_stream, new_stream)
    finally:
        await store.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Put the rows of a backup into an empty ClickHouse.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("old_stream", type=int)
    parser.add_argument("new_stream", type=int)
    known, others = parser.parse_known_args()
    try:
        settings = service_settings.load(others, program="milepost restore")
        counts = asyncio.run(run(settings, known.folder, known.old_stream, known.new_stream))
    except (NotEmpty, DirectoryHeld, StoreUnavailable, StoreFailed) as error:
        sys.exit(f"error: {error}")
    for table, count in counts.items():
        sys.stdout.write(f"{table}: {count:,} rows\n")
