"""`ez watch`: films a run's agent during a game, with its search and values."""

import signal
from pathlib import Path

from ezcli import console
from ezcli.commands.config_options import recorded
from ezcli.commands.find import find_run
from ezcli.envs.suites import suite_of

GIF_STEPS = 500  # env_steps; longer GIFs are too large to be useful


def watch(
    run: str,
    output: Path | None,
    seed: int,
    max_steps: int | None,
    fps: int | None,
    runs_dir: Path,
    device: str | None,
) -> int:
    """`ez watch`."""
    from ezcli.film.drawing import Artist, Captions, points
    from ezcli.film.video import check_target, is_gif, writing
    from ezcli.runs.agent import load_agent
    from ezcli.runs.folder import RunFolder, refuse_links
    from ezcli.runs.machine_errors import memory_errors
    from ezcli.runs.session import StopRequest
    from ezcli.runs.watch import play

    folder = RunFolder(find_run(run, runs_dir))
    config = recorded(folder, device)
    if output is None:
        refuse_links(folder.path)
    path = output or folder.path / f"watch-seed{seed}.mp4"
    check_target(path)
    most = config.env.evaluation_max_episode_steps
    cap = min(most, max_steps or (GIF_STEPS if is_gif(path) else most))
    fps = fps or suite_of(config.env).fps(config.env)
    with memory_errors("repeat the command."):
        agent = load_agent(folder, config, console.note)
    artist = Artist(
        Captions(
            title=config.env_label,
            subtitle=f"{folder.name}, train_step {agent.train_steps:,}",
            action_names=agent.spec.action_names,
            decodes=agent.network.decoder is not None,
        )
    )
    stop = StopRequest()
    enough = memory_errors("repeat the command.")
    with stop.listening(), enough, writing(path, fps) as add, console.live_line() as tell:
        for moment in play(agent, config, seed, cap, lambda: bool(stop)):
            tell(f"env_step {moment.env_step:,} of at most {cap:,}, score {points(moment.score)}")
            picture = artist.draw(moment)
            for _ in range(1 if moment.ending is None else fps):  # the end stays for a second
                add(picture)
    console.show(f"Score {points(moment.score)} after {moment.env_step:,} env_steps: {path}")
    if moment.ending == "cut":
        why = "--max-steps makes it longer." if cap < most else "An evaluation has the same limit."
        console.show(f"The film ends there, before the game does. {why}")
    if stop.signal is None:
        return 0
    console.show(f"Stopped by {stop.signal.name}; the film contains the game until then.")
    return 130 if stop.signal is signal.SIGINT else 75
