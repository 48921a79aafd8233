"""Whether what is live is older than its deployment wants, because a retrain is missing."""

from __future__ import annotations

from datetime import datetime, timedelta

from envelope.config import DeploymentConfig, read_age


def overdue(config: DeploymentConfig, saved_at: datetime, now: datetime) -> str | None:
    """Say that the live envelope, saved then, is too old; None when it is not.

    Releases do not count, so that neither a config change nor a rollback puts the alarm off.
    """
    age = now - saved_at
    if config.max_age is None or age <= read_age(config.max_age):
        return None
    return (
        f"what is live was saved {_shown(age)} ago, max_age is {config.max_age}: no newer envelope "
        "went live"
    )


def _shown(age: timedelta) -> str:
    hours, minutes = age.seconds // 3600, age.seconds % 3600 // 60
    return f"{age.days} d {hours} h" if age.days else f"{hours} h {minutes} min"
