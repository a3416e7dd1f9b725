"""`vla_ros data show`: an episode as plots, and as a video with the actions drawn in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from vla_ros.cli.editing_options import say
from vla_ros.core.errors import UserError


def show(
    episode: Annotated[Path, typer.Argument(help="Folder of an episode.")],
    output: Annotated[
        Path | None, typer.Option(help="Folder of the files; where you are by default.")
    ] = None,
    plot: Annotated[bool, typer.Option(help="Write the plots (PNG).")] = True,
    video: Annotated[bool, typer.Option(help="Write the video (MP4).")] = True,
    replace: Annotated[
        bool, typer.Option("--replace", help="Put them in the place of files that are there.")
    ] = False,
) -> None:
    """Draw an episode: NAME.png with joints, actors and gate, NAME.mp4 with the next actions.

    vla_ros data show recordings/episode_000000
    """
    from vla_ros.data.frames import open_episode
    from vla_ros.data.showing.filming import film_episode
    from vla_ros.data.showing.plotting import plot_episode
    from vla_ros.data.showing.timeline import read_timeline

    if not (plot or video):
        raise UserError("nothing to write; leave --no-plot or --no-video out")
    folder = output or Path.cwd()
    recorded = open_episode(episode)
    name = recorded.info.name
    picture, film = folder / f"{name}.png", folder / f"{name}.mp4"
    for path in [*[picture] * plot, *[film] * video]:
        if path.exists() and not replace:
            raise UserError(f"{path}: is there already; --replace puts a new one in its place")
    folder.mkdir(parents=True, exist_ok=True)
    timeline = read_timeline(recorded)
    if plot:
        partial = folder / f".{name}.partial.png"
        plot_episode(recorded.info, recorded.contract, timeline, partial)
        partial.replace(picture)
        say(f"{picture}: {len(timeline.joints)} joints over {recorded.info.duration_s:.1f} s")
    if video:
        partial = folder / f".{name}.partial.mp4"
        filmed = film_episode(recorded, timeline, partial)
        partial.replace(film)
        say(f"{film}: {filmed.frames} frames{_told(filmed.drawn, filmed.undrawn)}")


def _told(drawn: tuple[str, ...], undrawn: tuple[str, ...]) -> str:
    words = f"; the hand's path is drawn into {', '.join(drawn)}" if drawn else ""
    if undrawn:
        words += (
            f"; not into {', '.join(undrawn)}: no camera_info was recorded beside the images, or "
            "the URDF lacks the camera's frame or the tip"
        )
    return words
