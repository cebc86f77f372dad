#!/usr/bin/env bash
# standardwebhooks 1.1.0: what `Webhook.sign` signs for an aware timestamp of another zone, its own `verify` refuses.
#
# `sign` takes a datetime and puts `timestamp.replace(tzinfo=utc)` into what is signed. One that is aware, at 14:00+02:00, is
# signed as if it were 14:00 UTC, two hours off, while the header `webhook-timestamp` has the true seconds, as
# `datetime.timestamp()` gives them. Nothing is raised. Only naive times of UTC and aware ones whose zone is UTC come
# back, so a naive `datetime.now()` fails too wherever the machine's zone is another.
# Seen: "UTC: verified", "UTC+02:00: refused: No matching signature found", "the difference is 7200 s".
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check standardwebhooks==1.1.0 2>/dev/null
cat > "$folder/look.py" <<'PYTHON'
import base64
from datetime import datetime, timedelta, timezone

from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook("whsec_" + base64.b64encode(b"k" * 32).decode())
now = datetime.now(timezone.utc).replace(microsecond=0)


def headers(signature: str, seconds: int) -> dict[str, str]:
    return {"webhook-id": "msg_1", "webhook-timestamp": str(seconds), "webhook-signature": signature}


for zone in (timezone.utc, timezone(timedelta(hours=2))):
    moment = now.astimezone(zone)
    assert moment == now
    signature = webhook.sign("msg_1", moment, "{}")
    try:
        webhook.verify("{}", headers(signature, int(moment.timestamp())))
        print(f"{zone}: verified")
    except WebhookVerificationError as error:
        print(f"{zone}: refused: {error}")
shifted = now + timedelta(hours=2)
same = webhook.sign("msg_1", shifted, "{}") == webhook.sign("msg_1", now.astimezone(timezone(timedelta(hours=2))), "{}")
print(f"the difference is {7200 if same else 0} s")
PYTHON
seen=$("$folder/venv/bin/python" "$folder/look.py")
echo "$seen"
[ "$(tr '\n' '|' <<<"$seen")" = "UTC: verified|UTC+02:00: refused: No matching signature found|the difference is 7200 s|" ]
