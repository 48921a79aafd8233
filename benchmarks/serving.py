"""Requests per second and latencies of deployments, beside the peers, in the same run.

    python benchmarks/serving.py                # starts a platform and the peers, and ends them
    python benchmarks/serving.py --check        # status 1 when a promise is not kept
    python benchmarks/serving.py --seconds 2 --rounds 1 --kind frame --json figures.json
    python benchmarks/serving.py --kind numpy --kind primitives --only platform --only fastapi

What is served is in `served_by/apps/served.py`, what is asked in `served_by/questions.py`, what is
promised in `served_by/promises.py`. Every server gives the right answers before it is measured.
wrk sends; it shares the cores with what it measures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
from peers import machine, peer_python
from served_by import process
from served_by.ours import platform
from served_by.peers import PEERS, Peer, Start
from served_by.promises import BARE, Figures, Verdict, verdicts
from served_by.questions import KINDS, Kind, Target, wait_for
from wrk import Figure, require_wrk, wrk


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One line of a table, and how it is measured. measure: clients, seconds -> figure."""

    name: str
    kind: str
    clients: tuple[int, ...]
    measure: Callable[[int, int], Figure]


def main() -> None:
    options = read_options()
    require_wrk()
    chosen = [one for one in (platform, *PEERS) if not options.only or one.__name__ in options.only]
    kinds = [kind for kind in KINDS if not options.kind or kind.name in options.kind]
    with ExitStack() as stack:
        bodies = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        peers = [stack.enter_context(running(start)) for start in chosen]
        subjects = subjects_of(kinds, peers, bodies)
        figures = measure(subjects, seconds=options.seconds, rounds=options.rounds)
    found = verdicts(figures)
    versions = [peer.version for peer in peers]
    print(f"\n{machine()}\n{', '.join(versions)}; {options.rounds} x {options.seconds} s of wrk\n")
    show(kinds, subjects, figures, found)
    if options.json:
        options.json.write_text(as_json(versions, figures, found))
    if options.check and not all(one.is_kept for one in found):
        sys.exit(1)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=3, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="the median of these counts")
    names = [one.__name__ for one in (platform, *PEERS)]
    parser.add_argument("--only", choices=names, action="append", help="this server, and others")
    kinds = [kind.name for kind in KINDS]
    parser.add_argument("--kind", choices=kinds, action="append", help="this table, and others")
    parser.add_argument("--check", action="store_true", help="fail when a promise is not kept")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    return parser.parse_args()


@contextmanager
def running(start: Start) -> Iterator[Peer]:
    """Start a server, see that it answers right, and let it rest until it is asked."""
    with start() as peer:
        for target in peer.targets:
            wait_for(target)
        if peer.server is not None:
            peer.server.pause()
        yield peer


def subjects_of(kinds: list[Kind], peers: list[Peer], bodies: Path) -> list[Subject]:
    """Return what is measured, in the order of the tables: the servers, then no server at all."""
    bare = peer_python("bare", "pandas", "pyarrow", "orjson")
    found: list[Subject] = []
    for kind in kinds:
        own = [(peer, one) for peer in peers for one in peer.targets if one.kind == kind.name]
        if not own:
            continue
        for peer, target in own:
            body = bodies / f"{len(found)}.body"
            body.write_bytes(target.questions[0].body)
            found.append(
                Subject(
                    name=target.name,
                    kind=kind.name,
                    clients=target.clients or kind.clients,
                    measure=partial(ask, peer, target, body),
                )
            )
        body = bodies / f"{kind.name}.body"
        body.write_bytes(own[0][1].questions[0].body)
        call = partial(ask_nobody, bare, kind.name, body)
        found.append(Subject(name=BARE, kind=kind.name, clients=(1,), measure=call))
    return found


def ask(peer: Peer, target: Target, body: Path, clients: int, seconds: int) -> Figure:
    """Let wrk ask a server, which is awake for it."""
    headers = dict(target.headers)
    with nullcontext() if peer.server is None else peer.server.awake():
        return wrk(target.name, target.url, body, headers, clients=clients, seconds=seconds)


def ask_nobody(python: Path, kind: str, body: Path, clients: int, seconds: int) -> Figure:
    """Call the function in a process of its own, with no server."""
    return Figure(**json.loads(process.run(python, "bare.py", kind, str(body), str(seconds))))


def measure(subjects: list[Subject], *, seconds: int, rounds: int) -> Figures:
    """Measure all in turn, several times over, so that a busy moment hits them all."""
    seen: dict[tuple[str, str, int], list[Figure]] = {}
    for subject in subjects:
        if subject.name != BARE:
            subject.measure(max(subject.clients), 1)  # warm
    for number in range(rounds):
        print(f"round {number + 1} of {rounds}", flush=True)
        for subject in subjects:
            for clients in subject.clients:
                key = subject.kind, subject.name, clients
                seen.setdefault(key, []).append(subject.measure(clients, seconds))
    return {key: median(figures) for key, figures in seen.items()}


def median(figures: list[Figure]) -> Figure:
    """Return the figure whose rate is the median."""
    middle = statistics.median_low([figure.rps for figure in figures])
    return next(figure for figure in figures if figure.rps == middle)


def show(
    kinds: list[Kind], subjects: list[Subject], figures: Figures, found: list[Verdict]
) -> None:
    """Print a table per kind, then the promises, as Markdown."""
    for kind in kinds:
        unit = "req/s" if kind.rows == 1 else "rows/s"
        heads = [f"{n} client{'s' * (n > 1)}: {unit}, p50, p99 ms" for n in kind.clients]
        print(f"### {kind.title}\n\n| | {' | '.join(heads)} |\n|---{'|---' * len(heads)}|")
        for subject in subjects:
            if subject.kind == kind.name:
                cells = [figures.get((kind.name, subject.name, n)) for n in kind.clients]
                print(f"| {subject.name} | {' | '.join(cell(one, kind.rows) for one in cells)} |")
        print()
    print("### Promises\n\n| | measured | promised | |\n|---|---|---|---|")
    for one in found:
        print(one.row())


def cell(figure: Figure | None, rows: int) -> str:
    if figure is None:
        return ""
    return f"{figure.rps * rows:,.0f}, {figure.p50_ms:.2f}, {figure.p99_ms:.1f}"


def as_json(versions: list[str], figures: Figures, found: list[Verdict]) -> str:
    measured = [
        {"kind": kind, "name": name, "clients": clients} | asdict(figure)
        for (kind, name, clients), figure in figures.items()
    ]
    content = {
        "machine": machine(),
        "versions": versions,
        "figures": measured,
        "promises": [one.as_json() for one in found],
    }
    return json.dumps(content, indent=1)


if __name__ == "__main__":
    main()
