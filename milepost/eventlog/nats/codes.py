"""Numbers by which JetStream names its errors (`err_code` of an answer), as far as anything here depends on one."""

from __future__ import annotations

CLUSTER_NOT_READY = 10008
STREAM_NAME_IN_USE = 10058
STREAM_NOT_FOUND = 10059
MESSAGE_NOT_FOUND = 10037
BATCHES_DISABLED = 10174
BATCH_HAS_DUPLICATE = 10201
# Somebody else wrote first: of one message, and of a batch.
WRONG_LAST_SEQUENCE = (10071, 10164)
# No room: on the disk, in the memory of the account, in the stream.
FULL = (10023, 10047, 10077)
# No room to make a stream.
NO_ROOM_FOR_STREAM = (10023, 10047)
# One message, one batch, the header of one.
TOO_LARGE = (10054, 10097, 10199)
# A batch that lost a message on the way, or more batches at once than the server takes: stored nothing, send again.
TRY_AGAIN = (10176, 10210, 10211)
