"""The card of a run in a notebook."""

from __future__ import annotations

from milepost.training.loop.said.card import card


def test_a_card_shows_text_as_text() -> None:
    html = card("<script>", "http://x/?a=1&b='\"", 5, 10, {"train/loss": 0.123456})
    assert "<script>" not in html and "&lt;script&gt;" in html
    assert 'href="http://x/?a=1&amp;b=&#x27;&quot;"' in html
    assert "width:50.0%" in html and "train/loss 0.1235" in html
    assert "width" not in card("x", "", 5, None, {})
