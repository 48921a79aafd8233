"""`envelope batch run` and `envelope batch submit`: a job from here, or by Ray's job server."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from envelope.errors import EnvelopeError
from envelope.settings import Settings

if TYPE_CHECKING:
    from ray_runtime.batch.run import Progress

BAR_WIDTH = 30


def add_commands(group: click.Group) -> None:
    """Add the commands of this module."""
    group.add_command(batch)


@click.group()
def batch() -> None:
    """Run an envelope over a table."""


@batch.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="The result as JSON.")
def run(file: str, name: str | None, as_json: bool) -> None:
    """Run the batch job NAME of FILE on the local platform, driven from here."""
    from envelope.connection import connect
    from ray_runtime.batch.job import read_job
    from ray_runtime.batch.paths import anchored, is_submitted, working_folder
    from ray_runtime.batch.run import run_job

    chosen, config = read_job(file, name)
    with _bar() as progress:
        result = run_job(
            chosen,
            anchored(config, None if is_submitted() else working_folder()),
            connect(Settings.read()),
            report=lambda line: click.echo(line, err=True),
            progress=progress,
        )
    click.echo(json.dumps(asdict(result)) if as_json else str(result))


@batch.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False))
@click.argument("name", required=False)
@click.option("--no-wait", is_flag=True, help="Print the job's id and leave it to itself.")
def submit(file: str, name: str | None, no_wait: bool) -> None:
    """Hand the batch job NAME of FILE to the cluster's job server, and follow its log."""
    from ray_runtime.batch.job import read_job
    from ray_runtime.batch.paths import anchored, working_folder
    from ray_runtime.batch.submission import follow, submit_job

    settings = Settings.read()
    chosen, config = read_job(file, name)
    job_id = submit_job(chosen, anchored(config, working_folder()), settings)
    click.echo(job_id if no_wait else f"submitted as {job_id}", err=not no_wait)
    if not no_wait and not follow(job_id, settings, write=lambda text: click.echo(text, nl=False)):
        sys.exit(1)


@contextmanager
def _bar() -> Iterator[Progress | None]:
    """Give a function that shows how far a job is; None where nobody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    begun = time.monotonic()

    def show(done: int, n_parts: int | None) -> None:
        of = "" if n_parts is None else f" of {n_parts}"
        width = 0 if n_parts is None else BAR_WIDTH
        filled = width * done // max(n_parts or 1, 1)
        bar = f"[{'#' * filled}{'-' * (width - filled)}]  " if width else ""
        line = f"\r{bar}{done}{of} files written, {time.monotonic() - begun:.0f} s "
        click.echo(line, nl=False, err=True)

    try:
        yield show
    finally:
        click.echo("\r\x1b[K", nl=False, err=True)  # what follows says how it went


def run_here(prog_name: str) -> None:
    """Run one job as a process of its own; exit status as the `envelope` command's."""
    try:
        run(prog_name=prog_name)
    except EnvelopeError as exc:
        click.echo(f"error: {exc}", err=True)
        sys.exit(1)
