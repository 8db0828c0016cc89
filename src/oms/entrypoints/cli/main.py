"""The command line: its own commands, and those that other packages add by the entry point `oms.commands`."""

from __future__ import annotations

import os
import sys
from importlib.metadata import entry_points
from io import TextIOWrapper

from cyclopts import App, CycloptsError

import oms
from oms.domain.errors import OmsError
from oms.entrypoints.cli.backups import backup, repair, restore
from oms.entrypoints.cli.client import WRONG_USE
from oms.entrypoints.cli.local import demo, keys, serve, settings, verify
from oms.entrypoints.cli.orders import orders
from oms.entrypoints.cli.output import complain
from oms.entrypoints.cli.remote import dlq, stock
from oms.entrypoints.cli.servers import doctor, migrate_from_spring, reconcile, run, setup

JOINING = "oms.commands"
INTERRUPTED = 130


def assembled() -> App:
    """Return the command line. Each entry point of `oms.commands` is a cyclopts `App` or a function."""
    app = App(
        name="oms",
        help="Orders that settle exactly once: run a system, use a running one, check its promises.",
        version=oms.__version__,
    )
    for command in (
        serve,
        demo,
        run,
        setup,
        doctor,
        orders,
        stock,
        dlq,
        verify,
        backup,
        restore,
        repair,
        reconcile,
        settings,
        keys,
        migrate_from_spring,
    ):
        app.command(command)
    for found in sorted(entry_points(group=JOINING), key=lambda point: point.name):
        command = found.load()
        app.command(command) if isinstance(command, App) else app.command(command, name=found.name)
    return app


def main(arguments: list[str] | None = None) -> None:
    """Run a command and end the process with its exit code. A wrong setting prints one line on stderr, exit code 2."""
    if isinstance(sys.stdout, TextIOWrapper):  # characters that the terminal's encoding lacks become `?`
        sys.stdout.reconfigure(errors="replace")
    try:
        code = assembled()(
            sys.argv[1:] if arguments is None else arguments,
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
        )
    except CycloptsError as error:
        complain(error)
        code = WRONG_USE
    except UnicodeEncodeError:
        complain("the arguments of the command are not UTF-8")
        code = WRONG_USE
    except OmsError as error:
        complain(error)
        code = WRONG_USE
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:  # `oms orders list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code if isinstance(code, int) else 0)
