"""Milepost in other people's training libraries. Each module imports its library; importing this imports none."""
