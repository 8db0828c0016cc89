"""The command `oms sim`: searches schedules of the whole system for broken promises."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from oms.domain.errors import OmsError
from oms.entrypoints.cli.client import WRONG_USE
from oms.entrypoints.cli.output import console, give_up, table

if TYPE_CHECKING:
    from rich.console import Console

    from oms.testing.sim.campaign import Campaign, Report
    from oms.testing.sim.search import Found, Player

BROKEN = 1


def sim(
    *,
    seeds: Annotated[int | None, Parameter(help="Number of random schedules to play.")] = None,
    first: Annotated[int, Parameter(help="The first seed.")] = 0,
    exhaustive: Annotated[
        int | None, Parameter(help="Play every schedule with at most this number of deviations.")
    ] = None,
    fine: Annotated[
        bool, Parameter(negative="", help="Also deviate at each port call, not only between steps.")
    ] = False,
    orders: Annotated[int | None, Parameter(help="Number of orders in each schedule.")] = None,
    fulfil: Annotated[
        bool, Parameter(negative="", help="Also ship, cancel, take back and refund units of confirmed orders.")
    ] = False,
    replay: Annotated[Path | None, Parameter(help="Play this tape and print what happens.")] = None,
    own: Annotated[
        str | None,
        Parameter(help="Import path of a function that subscribes your own steps to the `oms.App` that it gets."),
    ] = None,
    tapes: Annotated[Path, Parameter(help="Directory for the tape of a failure.")] = Path("oms-tapes"),
) -> int:
    """Run the whole system in this process under many schedules and faults, and check every promise.

    Without --exhaustive and --replay, 1000 seeds are played. A seed always gives the same schedule.
    Exits with 1 if a promise is broken.
    """
    try:
        from oms.testing.sim.own import player_of_path
        from oms.testing.sim.search import exhaustive as every
        from oms.testing.sim.search import swarm
    except ModuleNotFoundError as missing:
        give_up(f"oms sim needs {missing.name}: pip install 'distributed-oms[testing]'", WRONG_USE)
    if sum(given is not None for given in (seeds, exhaustive, replay)) > 1:
        give_up("--seeds, --exhaustive and --replay exclude each other", WRONG_USE)
    screen = console(pipe_width=120)
    if replay is not None:
        return _replayed(screen, replay)
    try:
        player = player_of_path(own)
    except OmsError as error:
        give_up(str(error), WRONG_USE)
    if exhaustive is not None:
        import attrs

        from oms.testing.sim.scope import ONE_OF_EACH, Scope

        scope = attrs.evolve(ONE_OF_EACH if fulfil else Scope(), orders=orders or 1, fine=fine)
        return _hunt(screen, every(scope, exhaustive, player), None, player, own, tapes)
    count = 1000 if seeds is None else seeds
    schedules = swarm(range(first, first + count), orders, player, plans=fulfil)
    return _hunt(screen, schedules, count, player, own, tapes)


def _hunt(
    screen: Console, schedules: Iterator[Found], total: int | None, player: Player, own: str | None, tapes: Path
) -> int:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from oms.testing.sim.campaign import campaign, report_of

    columns = (TextColumn("schedules"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    begun = time.process_time()
    with Progress(*columns, console=screen, disable=not screen.is_terminal, auto_refresh=False) as progress:
        task = progress.add_task("", total=total)

        def show(now: Campaign) -> None:
            if now.schedules % 20 == 0:
                progress.update(task, completed=now.schedules)
                progress.refresh()

        done = campaign(schedules, observe=show)
        progress.update(task, completed=done.schedules)
        progress.refresh()
    _summary(screen, done, time.process_time() - begun)
    if done.first is None:
        return 0
    screen.print("shrinking ...", style="dim")
    _show_report(screen, report_of(done.first, player, own=own, tapes=tapes), done.first.seed)
    return BROKEN


def _summary(screen: Console, done: Campaign, cpu_s: float) -> None:
    from oms.testing.sim.tally import COUNTED, COUNTED_AFTER_CONFIRMATION

    counted = table("", "", "")
    counted.show_header = False
    counted.columns[1].justify = "right"
    counted.add_row(
        "[bold]schedules[/]",
        str(done.schedules),
        f"{done.pruned} abandoned at a state that another schedule had reached",
    )
    counted.add_row(
        "[bold]steps[/]", str(done.steps), f"{cpu_s:.1f} s of CPU, {done.schedules / cpu_s:.0f} schedules/s"
    )
    later = {name: meaning for name, meaning in COUNTED_AFTER_CONFIRMATION.items() if name in done.tally}
    for name, meaning in {**COUNTED, **later}.items():
        counted.add_row(f"[bold]{name}[/]", str(done.tally[name]), meaning)
    screen.print(counted)
    if done.first is None:
        screen.print("[bold green]every promise held in every schedule[/]")
        return
    for promise, count in sorted(done.failures.items()):
        screen.print(f"[bold red]{promise} broken[/] in {count} of {done.schedules} schedules")


def _show_report(screen: Console, report: Report, seed: int | None) -> None:
    outcome = report.outcome
    for violation in outcome.violations:
        screen.print(str(violation), style="red", markup=False)
    screen.rule(f"[bold]the schedule, {len(outcome.deviations)} deviations from calm", align="left")
    screen.print(report.story.text(), markup=False, soft_wrap=True)
    screen.rule("[bold]as a sequence diagram", align="left")
    screen.print(report.story.diagram(), markup=False, soft_wrap=True)
    screen.rule(align="left")
    if seed is not None:
        screen.print(f"seed    {seed}")
    screen.print(f"tape    {report.path}  (made small in {report.shrunk.runs} runs)", markup=False, soft_wrap=True)
    screen.print(f"replay  oms sim --replay {report.path}", markup=False, soft_wrap=True)
    screen.print(f"test    pytest {report.path}", markup=False, soft_wrap=True)


def _replayed(screen: Console, path: Path) -> int:
    from oms.testing.sim.own import player_of_path
    from oms.testing.sim.story import Story
    from oms.testing.sim.tape import Replay
    from oms.testing.sim.tape_file import load

    try:
        tape = load(path)
        player = player_of_path(tape.own)
    except OmsError as error:
        give_up(str(error), WRONG_USE)
    story = Story()
    outcome = player(tape.scope, Replay(tape.deviations), listener=story)
    screen.print(story.text(), markup=False, soft_wrap=True)
    screen.rule("[bold]as a sequence diagram", align="left")
    screen.print(story.diagram(), markup=False, soft_wrap=True)
    for violation in outcome.violations:
        screen.print(str(violation), style="red", markup=False)
    if not outcome.violations:
        screen.print("[bold green]every promise held[/]")
    return BROKEN if outcome.violations else 0
