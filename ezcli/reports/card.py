"""The model card of a run for the Hugging Face Hub."""

import json

from ezcli import __version__
from ezcli.envs.suites import normalisation_of
from ezcli.runs.evaluations import describe_evaluation
from ezcli.runs.folder import EVALUATIONS, RunFolder
from ezcli.words import ez_command

TAGS = ("reinforcement-learning", "deep-reinforcement-learning", "efficientzero", "muzero")


def model_card(folder: RunFolder) -> str:
    """Markdown with a YAML header: the run, its scores, and how to use it.

    Raises:
      EzError: the run is damaged.
    """
    config, info = folder.config(), folder.read_info()
    lines, game = folder.read(EVALUATIONS), config.env_label
    scale = normalisation_of(config.env)
    own = [line for line in lines if line.get("kind") == "final"] or lines[-1:]
    header = ["---", "library_name: ezcli", f"tags: {json.dumps([*TAGS, game])}"]
    for line in own[-1:]:
        error = "" if line["standard_error"] is None else f" +/- {line['standard_error']:.2f}"
        header += [
            "model-index:",
            f"- name: {json.dumps(folder.name)}",
            "  results:",
            "  - task: {type: reinforcement-learning, name: reinforcement-learning}",
            f"    dataset: {{name: {json.dumps(game)}, type: {json.dumps(game)}}}",
            "    metrics:",
            f'    - {{type: mean_reward, name: mean_reward, value: "{line["mean"]:.2f}{error}"}}',
        ]
    scores = [f"- {describe_evaluation(line, scale)}" for line in own]
    steps = f"{config.schedule.env_steps:,} env_steps, {config.schedule.train_steps:,} train_steps"
    return "\n".join(
        [
            *header,
            "---",
            "",
            f"# {folder.name}",
            "",
            f"An EfficientZero agent for {game}, trained with ezcli. The run is "
            f"{folder.status()}; "
            f"its schedule has {steps}.",
            "",
            "## Scores",
            "",
            *(scores or ["None yet."]),
            "",
            "A number after ± is a standard error of the mean over the games of one evaluation.",
            "",
            "## Use",
            "",
            "The folder of this file is a run of ezcli without its replay. In the folder above it, "
            f"with `ezcli {__version__}`:",
            "",
            "```",
            ez_command("watch", f"./{folder.name}"),
            ez_command("evaluate", f"./{folder.name}", episodes="100"),
            "```",
            "",
            "## Files",
            "",
            "- `config.toml`: every setting. Seed "
            f"{config.seed}, identity `{config.identity}`, preset {info.get('preset', 'unknown')}.",
            "- `run.json`: versions, devices and times.",
            "- `metrics.jsonl`, `evaluations.jsonl`, `timing.jsonl`: metrics, scores and times.",
            "- `checkpoints`: the network, as safetensors.",
            "- `checksums.json`: SHA-256 of each file.",
            "",
        ]
    )
