"""On the path of Python it makes of the installed trainer one of a later contract: what it sends has more in it.

Each event has a field and a header that are not known yet, snapshots have a reason that is not known, one event more is
of a type that is not known, and batches of telemetry and beats have a field and a header more.
"""

import dataclasses
import importlib.util
import itertools

# A field that no message has: its number and wire type, its length, its content.
UNKNOWN_FIELD = bytes([0xE2, 0x76, 5]) + b"later"
HEADER = {"mp-later": "1"}
ADDED_TYPE = "milepost.trial.gradient_observed.v1"
ADDED_REASON = 99


def _speak_a_later_contract():
    from milepost.api.event.v1 import trial_events_pb2 as facts
    from milepost.eventlog import codec
    from milepost.eventlog.nats import connection, jetstream
    from milepost.ids import new_event_id

    seal, append = jetstream.seal, jetstream.JetStreamLog.append
    publish, request = connection.Connection.publish, connection.Connection.request
    appends = itertools.count()

    def later_body(event):
        if event.type == ADDED_TYPE:
            return UNKNOWN_FIELD
        payload = codec.decode(event.type, event.body)
        if isinstance(payload, facts.SnapshotCommitted):
            payload.reason = ADDED_REASON
        payload.MergeFromString(UNKNOWN_FIELD)
        return codec.encode(payload)[1] + UNKNOWN_FIELD

    def later_seal(events, expected):
        return seal([dataclasses.replace(event, body=later_body(event)) for event in events], expected)

    async def later_append(self, events, expected):
        events = list(events)
        if next(appends) == 0:
            events.append(dataclasses.replace(events[-1], type=ADDED_TYPE, body=b"", id=new_event_id()))
            appended = await append(self, events, expected)
            return dataclasses.replace(appended, sequences=appended.sequences[:-1])
        return await append(self, events, expected)

    def sent(subject, body, headers):
        if subject.startswith(("telemetry.", "heartbeat.")):
            return body + UNKNOWN_FIELD, {**(headers or {}), **HEADER}
        return body, {**(headers or {}), **HEADER} if subject.startswith("events.") else headers

    async def later_publish(self, subject, body=b"", headers=None):
        await publish(self, subject, *sent(subject, body, headers))

    async def later_request(self, subject, body=b"", headers=None, *more):
        return await request(self, subject, *sent(subject, body, headers), *more)

    jetstream.seal, jetstream.JetStreamLog.append = later_seal, later_append
    connection.Connection.publish, connection.Connection.request = later_publish, later_request


if importlib.util.find_spec("milepost") is not None:
    _speak_a_later_contract()
