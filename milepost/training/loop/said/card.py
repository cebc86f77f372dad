"""A trial in a notebook: its name as a link to its page, and a bar. Pure."""

from __future__ import annotations

from html import escape


def card(name: str, page: str, step: int, total: int | None, values: dict[str, float]) -> str:
    """Write the HTML that a notebook shows for a trial. Everything in it is escaped; nothing is fetched or run."""
    label = escape(name)
    title = f'<a href="{escape(page, quote=True)}" target="_blank" rel="noopener">{label}</a>' if page else label
    done = f"{step:,}" if not total else f"{step:,} of {total:,} steps"
    share = min(100.0, 100.0 * step / total) if total else 0.0
    bar = (
        '<span style="display:inline-block;width:120px;height:6px;border-radius:3px;background:#8884">'
        f'<span style="display:block;width:{share:.1f}%;height:6px;border-radius:3px;background:#3b82f6"></span></span> '
        if total
        else ""
    )
    shown = ", ".join(f"{escape(key)} {value:.4g}" for key, value in sorted(values.items()))
    return f'<div style="font-family:system-ui,sans-serif">{title} {bar}{done}{" · " if shown else ""}{shown}</div>'
