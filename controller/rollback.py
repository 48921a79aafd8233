"""What a deployment goes back to: a pure choice among its releases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from controller.state import NEVER
from envelope.errors import ConfigError
from envelope.registry import Exclusion, ReleaseRow


def rollback_target(
    live: ReleaseRow,
    releases: Sequence[ReleaseRow],
    exclusions: Iterable[Exclusion],
    to: str | None = None,
) -> ReleaseRow:
    """The release whose envelope takes the place of what is live.

    releases: of the deployment. to: a release's id or a unique beginning of it; None is the one
    that was live before, and was not rolled back itself.
    Raises ConfigError when there is none, naming those there are.
    """
    excluded = {each.envelope_id for each in exclusions}
    former = sorted(
        (
            each
            for each in releases
            if each.live_at is not None and each.envelope_id not in {live.envelope_id, *excluded}
        ),
        key=lambda each: (each.live_at or NEVER, each.id),
        reverse=True,
    )
    found = [each for each in former if to is None or each.id.startswith(to)]
    if to is None and found:
        return found[0]
    if len(found) == 1:
        return found[0]
    names = ", ".join(f"{each.id} ({each.envelope_id})" for each in former[:5]) or "none"
    asked = "no earlier release" if to is None else f"not one release {to!r}"
    raise ConfigError(
        f"{live.deployment} has {asked} of another envelope that was live there and is not rolled "
        f"back; there are: {names}; `envelope deploy ID --to {live.deployment}` serves any envelope"
    )
