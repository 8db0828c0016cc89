"""The commands for the files of an embedded system: backup, restore and repair."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from oms.entrypoints.cli.local import Data, data_settings
from oms.entrypoints.cli.output import print_line


def backup(
    directory: Annotated[Path, Parameter(help="New or empty directory for the copy.")], *, data: Data = None
) -> int:
    """Copy an embedded system, also while it runs. The copy is a consistent snapshot."""
    from oms.bootstrap.backups import back_up

    made = back_up(data_settings(data), directory)
    size = sum(size for size, _ in made.files.values())
    print_line(f"{len(made.files)} files, {size} bytes, of {made.at.isoformat(timespec='seconds')}: {directory}")
    return 0


def restore(
    directory: Annotated[Path, Parameter(help="The directory that `oms backup` wrote.")], *, data: Data = None
) -> int:
    """Check a backup, and put it in place as the embedded system. Refuses a directory that holds data."""
    from oms.bootstrap.backups import restore as put_in_place

    settings = data_settings(data)
    made = put_in_place(settings, directory)
    print_line(f"{len(made.files)} files of {made.at.isoformat(timespec='seconds')} restored to {settings.data}")
    return 0


def repair(*, data: Data = None) -> int:
    """Repair an embedded system whose files were copied at different moments. Start it afterwards.

    The system must not run. Its own steps and extensions are those that the settings name. Damaged files can't be
    repaired.
    """
    from oms.bootstrap.create import create
    from oms.bootstrap.repair import repair as make_agree

    for line in make_agree(create(data_settings(data))):
        print_line(line)
    print_line("the files agree: start the system, and run `oms verify` when its orders have settled")
    return 0
