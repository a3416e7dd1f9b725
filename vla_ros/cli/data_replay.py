"""`vla_ros data replay`: a recording or a LeRobotDataset, published as topics again."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from vla_ros.cli.data_convert import require_extra
from vla_ros.contract import RobotContract, load_contract
from vla_ros.core.errors import UserError
from vla_ros.data.episode import episode_folders
from vla_ros.data.episode_index import INSTRUCTION, decode, full_name, has_header
from vla_ros.data.frames import open_episode

#: Rows have no time of day: they begin here [ns].
EPOCH_NS = 1_000_000_000


def replay(
    source: Annotated[Path, typer.Argument(help="Recording, episode, or LeRobotDataset.")],
    episode: Annotated[int, typer.Option(help="Which one, counted from 0.")] = 0,
    rate: Annotated[float, typer.Option(help="Pace; 2 is twice as fast.")] = 1.0,
    keep_stamps: Annotated[
        bool,
        typer.Option("--keep-stamps", help="Leave stamps as they are, and publish /clock."),
    ] = False,
    commands: Annotated[
        bool, typer.Option("--commands", help="Publish commands too: they MOVE a robot.")
    ] = False,
    contract: Annotated[
        str, typer.Option(help="Contract; that of the recording or dataset by default.")
    ] = "",
    wait_s: Annotated[float, typer.Option(help="Time for subscribers to find it [s].")] = 1.0,
) -> None:
    """Publish the sensors and the instruction of an episode; start no robot beside it.

    vla_ros data replay recordings --episode 3
    """
    from vla_ros.ros.replay import Replay
    from vla_ros.testing.spinning import Spinner

    topics, messages = open_source(source, episode, contract, commands=commands)
    console, stopping = Console(soft_wrap=True), threading.Event()
    with Spinner("replay") as spinner:
        player = Replay(spinner.node, rate=rate, keep_stamps=keep_stamps)
        player.announce(topics)
        stopping.wait(wait_s)
        try:
            player.run(messages, stopping)
        except KeyboardInterrupt:
            stopping.set()
    for topic, count in player.published.items():
        console.print(f"{topic}: {count}", highlight=False)


def open_source(
    source: Path, episode: int, contract: str, *, commands: bool
) -> tuple[dict[str, str], Iterator[Any]]:
    """Return the topics, with their types, and the messages of an episode.

    Args:
        source: Recording, episode, or LeRobotDataset.
        episode: Which one of it.
        contract: Name or path of a contract; "" for its own.
        commands: Whether commands are among them.

    Raises:
        UserError: if there is no such episode, or a dataset has no contract.
    """
    if (source / "meta" / "info.json").is_file():
        return _open_dataset(source, episode, contract, commands=commands)
    folders = episode_folders(source)
    if not 0 <= episode < len(folders):
        raise UserError(f"{source}: has episodes 0 to {len(folders) - 1}, no {episode}")
    return _open_recording(folders[episode], contract, commands=commands)


def _topics(contract: RobotContract, *, commands: bool) -> dict[str, str]:
    found = {full_name(item.topic): item.type for item in contract.observations}
    found[INSTRUCTION] = "std_msgs/msg/String"
    if commands:
        command = contract.action.command
        found[full_name(command.topic)] = command.type
    return found


def _open_recording(
    folder: Path, contract: str, *, commands: bool
) -> tuple[dict[str, str], Iterator[Any]]:
    from vla_ros.ros.replay import ReplayedMessage

    recorded = open_episode(folder, load_contract(contract) if contract else None)
    topics = _topics(recorded.contract, commands=commands)

    def messages() -> Iterator[ReplayedMessage]:
        for raw in recorded.raw_messages(topics):
            if raw.type != topics[raw.topic]:
                raise UserError(
                    f"{folder}: {raw.topic} has type {raw.type}, the contract says "
                    f"{topics[raw.topic]}"
                )
            yield ReplayedMessage(
                topic=raw.topic,
                type=raw.type,
                data=raw.data,
                time_ns=raw.log_ns,
                stamped=has_header(raw.type),
                text=decode(raw).data if raw.topic == INSTRUCTION else "",
            )

    return topics, messages()


def _open_dataset(
    root: Path, episode: int, contract_name: str, *, commands: bool
) -> tuple[dict[str, str], Iterator[Any]]:
    require_extra()
    from vla_ros.data.lerobot.reader import LeRobotReader
    from vla_ros.ros.replay import ReplayedMessage, RowMessages

    reader = LeRobotReader(root)
    contract = load_contract(contract_name) if contract_name else reader.contract
    if contract is None:
        raise UserError(
            f"{root}: was not made by vla_ros and embeds no contract; say with --contract which "
            "topics its features are"
        )
    known = [item for item in contract.observations if item.feature in reader.features]
    if not known:
        raise UserError(f"{root}: has none of the features of contract '{contract.name}'")
    reader.episode(episode)
    topics = _topics(contract, commands=commands)
    maker = RowMessages(contract, reader.fps, INSTRUCTION)

    def messages() -> Iterator[ReplayedMessage]:
        for index, row in enumerate(reader.rows(episode)):
            time_ns = EPOCH_NS + round(index * 1e9 / reader.fps)
            stamp = row.get("stamp_ns")
            time_ns = int(stamp[0]) if stamp is not None else time_ns
            yield from maker.make(row, time_ns, commands=commands)

    return topics, messages()
