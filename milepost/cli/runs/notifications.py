"""Commands of `milepost rule` about who is told: destinations, notifications, dead letters."""

from __future__ import annotations

import click

from milepost.api.rule.v1 import rule_service_pb2 as rule_api
from milepost.cli import output
from milepost.cli.connection import connected, output_option
from milepost.cli.exits import Exit
from milepost.cli.output import JSON, say
from milepost.client import Client

_STATES = {
    "pending": rule_api.NOTIFICATION_STATE_PENDING,
    "delivered": rule_api.NOTIFICATION_STATE_DELIVERED,
    "failed": rule_api.NOTIFICATION_STATE_FAILED,
}


@click.command()
@output_option
@connected
def destinations(client: Client, form: str) -> None:
    """List whom rules may tell, as the operator's file has it."""
    answer = client.rules.ListDestinations(rule_api.ListDestinationsRequest())
    if form == JSON:
        output.print_json(answer)
        return
    rows = [
        (item.name.removeprefix("destinations/"), item.kind, "yes" if item.signed else "", item.pending_count or "")
        for item in answer.destinations
    ]
    output.print_table(("DESTINATION", "KIND", "SIGNED", "PENDING"), rows)
    if answer.problem:
        say(answer.problem)


@click.command()
@click.argument("destination")
@connected
def ping(client: Client, destination: str) -> int:
    """Tell a destination something made up, once, and say how it ended."""
    name = f"destinations/{destination.removeprefix('destinations/')}"
    answer = client.rules.TestDestination(rule_api.TestDestinationRequest(name=name))
    status = f" ({answer.status_code})" if answer.status_code else ""
    said = f": {answer.detail}" if answer.detail else ""
    if not answer.delivered:
        say(f"{destination} was not told{said}")
        return Exit.FAILED
    output.show(f"{destination} was told{status}{said}")
    return Exit.OK


@click.command()
@click.argument("rule_id", default="-")
@click.option("--state", type=click.Choice(sorted(_STATES)), help="Only those. failed: dead letters.")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1, 1000))
@output_option
@connected
def notifications(client: Client, rule_id: str, state: str | None, limit: int, form: str) -> None:
    """List who was told of what a rule found, or all of them, newest first."""
    answer = client.rules.ListNotifications(
        rule_api.ListNotificationsRequest(
            parent=f"rules/{rule_id.removeprefix('rules/')}",
            state=_STATES[state] if state else rule_api.NOTIFICATION_STATE_UNSPECIFIED,
            page_size=limit,
        )
    )
    if form == JSON:
        output.print_json(answer)
        return
    rows = [
        (
            output.moment(item.update_time), item.name.removeprefix("notifications/"), item.destination,
            output.enum_word(item, "state").lower(), item.attempt_count or "", item.title, item.detail,
        )
        for item in answer.notifications
    ]  # fmt: skip
    output.print_table(("TIME", "NOTIFICATION", "DESTINATION", "STATE", "TRIES", "WHAT", "SAID"), rows)


@click.command()
@click.argument("notification")
@connected
def retry(client: Client, notification: str) -> None:
    """Send a dead letter again, for another day."""
    name = f"notifications/{notification.removeprefix('notifications/')}"
    client.rules.RetryNotification(rule_api.RetryNotificationRequest(name=name))


COMMANDS = (destinations, notifications, ping, retry)
