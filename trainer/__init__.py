"""The driver of one attempt: starts its instances, appends its events, keeps its logs, types its end."""
