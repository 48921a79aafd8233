"""What is promised, as ratios to a peer in the same run, and whether it was kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

from wrk import Figure

from served_by.ours import ALONE, BY_HAND, OURS

BARE = "bare, in one process"
MOST_ADDED_MS = 1.0

# kind, name, clients -> what was measured.
Figures: TypeAlias = Mapping[tuple[str, str, int], Figure]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """One promise. least, most: what it should be at least, or at most."""

    text: str
    value: float
    unit: str
    least: float | None = None
    most: float | None = None

    @property
    def is_kept(self) -> bool:
        above = self.least is None or self.value >= self.least
        return above and (self.most is None or self.value <= self.most)

    def row(self) -> str:
        """Return a row of the table."""
        limit = f">= {self.least:g}" if self.least is not None else f"<= {self.most:g}"
        verdict = "" if self.is_kept else "**BELOW**" if self.least is not None else "**ABOVE**"
        return f"| {self.text} | {self.value:.2f} {self.unit} | {limit} | {verdict} |"

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"is_kept": self.is_kept}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Requests per second of a deployment over those of a peer. None: of a single process."""

    kind: str
    peer: str
    clients: int
    least: float
    peer_clients: int | None = None


ROW_PEERS = ("MLServer", "LitServe", "BentoML", "FastAPI by hand")
RATIOS = (
    Ratio(kind="frame", peer="mlflow models serve", clients=16, least=8.0),
    Ratio(kind="frame", peer="mlflow models serve", clients=64, least=14.0),
    *(Ratio(kind="frame", peer=p, clients=n, least=1.0) for n in (16, 64) for p in ROW_PEERS),
    Ratio(kind="frame", peer="FastAPI by hand", clients=1, least=0.8),
    Ratio(kind="frame", peer=ALONE, clients=1, least=0.95),
    *(
        Ratio(kind=kind, peer=peer, clients=16, least=least)
        for kind in ("numpy", "primitives")
        for peer, least in (("FastAPI by hand", 1.0), (BY_HAND, 0.9))
    ),
    *(Ratio(kind="json rows", peer=BARE, clients=n, peer_clients=1, least=0.7) for n in (1, 16)),
    *(Ratio(kind="arrow rows", peer=BARE, clients=n, peer_clients=1, least=0.7) for n in (1, 4)),
)


def verdicts(figures: Figures) -> list[Verdict]:
    """Return all promises that can be told from what was measured."""
    found = [ratio(figures, one) for one in RATIOS]
    added = [added_ms(figures, kind, OURS, MOST_ADDED_MS) for kind in ("frame", "numpy")]
    return [one for one in [*found, *added] if one is not None]


def ratio(figures: Figures, promised: Ratio) -> Verdict | None:
    """Return one ratio; None when one of the two was not measured."""
    ours = figures.get((promised.kind, OURS, promised.clients))
    theirs = figures.get((promised.kind, promised.peer, promised.peer_clients or promised.clients))
    if ours is None or theirs is None:
        return None
    clients = f"{promised.clients} client{'s' * (promised.clients > 1)}"
    return Verdict(
        text=f"{promised.kind}: {OURS} / {promised.peer}, {clients}",
        value=ours.rps / theirs.rps,
        unit="x",
        least=promised.least,
    )


def added_ms(figures: Figures, kind: str, name: str, most: float | None) -> Verdict | None:
    """Return what a server adds to the bare function when one client asks."""
    here, bare = figures.get((kind, name, 1)), figures.get((kind, BARE, 1))
    if here is None or bare is None:
        return None
    return Verdict(
        text=f"{kind}: p50 that {name} adds to the function, 1 client",
        value=here.p50_ms - bare.p50_ms,
        unit="ms",
        most=most,
    )
