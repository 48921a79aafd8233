"""What `envelope status` says about who leads."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from controller.lifecycle_commands import describe_leadership
from envelope.registry import ControllerRow, Lease


def lease(left_s: float) -> Lease:
    return Lease(epoch=7, holder="x", host="one", pid=11, left_s=left_s)


STANDBY = ControllerRow(id="two-12", host="two", pid=12, seen_s=1.2)


@pytest.mark.parametrize(
    "leader, standbys, lines",
    [
        pytest.param(None, [STANDBY], [], id="never-led"),
        pytest.param(lease(4.0), [], ["leader      one (pid 11), epoch 7"], id="alone"),
        pytest.param(
            lease(4.0),
            [STANDBY],
            ["leader      one (pid 11), epoch 7", "standby     two (pid 12), seen 1 s ago"],
            id="standby",
        ),
        pytest.param(
            lease(-30.0),
            [],
            ["leader      nobody; one (pid 11), epoch 7 led until 30 s ago"],
            id="dead",
        ),
    ],
)
def test_who_leads(
    leader: Lease | None, standbys: Sequence[ControllerRow], lines: list[str]
) -> None:
    assert describe_leadership(leader, standbys) == lines
