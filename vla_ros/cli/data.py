"""`vla_ros data`: what is done with recordings once they are on disk.

A command is a function in a module of its own, `vla_ros/cli/data_<name>.py`, and a line below.
"""

from __future__ import annotations

import typer

from vla_ros.cli import (
    data_annotate,
    data_augment,
    data_check,
    data_convert,
    data_delete,
    data_list,
    data_merge,
    data_push,
    data_recover,
    data_rename,
    data_replay,
    data_show,
    data_split,
    data_statistics,
)

data = typer.Typer(
    help="List, mend, check, convert and edit recordings.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)
data.command("list")(data_list.list_episodes)
data.command("recover")(data_recover.recover)
data.command("check")(data_check.check)
data.command("convert")(data_convert.convert)
data.command("merge")(data_merge.merge)
data.command("split")(data_split.split)
data.command("delete")(data_delete.delete)
data.command("rename")(data_rename.rename)
data.add_typer(data_augment.augment, name="augment")
data.command("replay")(data_replay.replay)
data.command("statistics")(data_statistics.statistics)
data.command("annotate")(data_annotate.annotate)
data.command("show")(data_show.show)
data.command("push")(data_push.push)
data.command("pull")(data_push.pull)
