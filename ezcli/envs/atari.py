"""One ALE game under the Atari 100k protocol (Kaiser et al., 2019; EfficientZero, appendix A.1).

The loop over raw frames is our own, so that this file has every rule of the protocol. ALE plays one
raw frame at a time without sticky actions, frame skip or colour averaging. Its settings are checked
after loading, and recorded in the contract. Sticky actions (`env.sticky`) follow ALE's rule, with
random numbers from the seed of the game.

Units: a frame is one raw frame of the console (60 per second), an env_step is `frame_skip` of them.
"""

import hashlib

import ale_py
import numpy as np
from ale_py import roms

from ezcli.envs.area import areas, shrink, warm_up
from ezcli.envs.atari_suite import AtariSettings
from ezcli.envs.protocol import EnvSpec, Step
from ezcli.envs.suites import check_game


class AtariEnv:
    """One game. Random are the number of no-ops and which actions stick."""

    def __init__(self, settings: AtariSettings, evaluation: bool) -> None:
        check_game(settings)
        self._settings = settings
        self._life_loss_ends_episode = settings.life_loss_ends_episode and not evaluation
        self._rom = roms.get_rom_path(settings.game)
        self._ale = _quiet_console()
        self._ale.loadROM(self._rom)
        self._has_played = False
        actions = (
            self._ale.getLegalActionSet()
            if settings.full_action_set
            else self._ale.getMinimalActionSet()
        )
        self._action_codes = [action.value for action in actions]
        self._lives = 0
        self._held = ale_py.Action.NOOP.value  # the action of the previous frame
        self._rng = np.random.default_rng(0)  # random numbers of sticky actions

        height, width = self._ale.getScreenDims()
        channels = 1 if settings.grayscale else 3
        shape = (height, width) if settings.grayscale else (height, width, channels)
        self._screen = np.empty(shape, np.uint8)
        self._previous_screen = np.empty(shape, np.uint8)
        self._areas = areas(height, width, channels, settings.frame_size)
        warm_up()
        self.spec = EnvSpec(
            frame_shape=(channels, settings.frame_size, settings.frame_size),
            action_names=tuple(action.name.lower() for action in actions),
            contract=self._contract(settings.cap(evaluation), actions),
        )

    def reset(self, seed: int) -> np.ndarray:
        """Starts a new game, and plays 1 to `noop_max` no-ops, depending on `seed`."""
        # Load the game again, because `reset_game` does not reset everything: after it, Assault and
        # Kung-Fu Master start differently from a new console.
        if self._has_played:
            self._ale.loadROM(self._rom)
        self._has_played = True
        self._ale.reset_game()
        for _ in range(self._draw_noops(seed)):
            self._ale.act(ale_py.Action.NOOP)
            if self._ale.game_over():
                self._ale.reset_game()
        self._held = ale_py.Action.NOOP.value
        self._rng = np.random.default_rng((seed, 1))  # (seed,) draws the no-ops
        self._lives = self._ale.lives()
        self._read(self._screen)
        return self._resized(self._screen)

    def step(self, action: int) -> Step:
        """Plays one action for `frame_skip` raw frames, or fewer if the game ends."""
        ale, code = self._ale, self._action_codes[action]
        # After a game's end ALE returns no new frame and no reward.
        reward = sum(self._play_frame(code) for _ in range(self._settings.frame_skip - 1))
        self._read(self._previous_screen)
        reward += self._play_frame(code)
        self._read(self._screen)
        # Games draw some objects in every other frame only; the maximum shows them all.
        np.maximum(self._screen, self._previous_screen, out=self._screen)

        lives, lives_before = ale.lives(), self._lives
        self._lives = lives
        is_game_over = ale.game_over()
        # Without lives a game may continue for some frames (Q*bert) until its end.
        has_lost_life = 0 < lives < lives_before
        is_episode_over = is_game_over or (self._life_loss_ends_episode and has_lost_life)
        return Step(self._resized(self._screen), float(reward), is_episode_over, is_game_over)

    def _play_frame(self, code: int) -> int:
        """Plays one raw frame with an action of ALE or the previous one, and returns the reward."""
        if not self._settings.sticky or self._rng.random() >= self._settings.sticky:
            self._held = code
        return int(self._ale.act(self._held))

    def _draw_noops(self, seed: int) -> int:
        most = self._settings.noop_max
        return int(np.random.default_rng(seed).integers(1, most, endpoint=True)) if most else 0

    def _read(self, screen: np.ndarray) -> None:
        if self._settings.grayscale:
            self._ale.getScreenGrayscale(screen)
        else:
            self._ale.getScreenRGB(screen)

    def _resized(self, screen: np.ndarray) -> np.ndarray:
        frame = np.empty(self.spec.frame_shape, np.uint8)
        shrink(screen.reshape(len(screen), -1), self._areas, frame)
        return frame

    def _contract(self, cap: int, actions: list[ale_py.Action]) -> dict[str, object]:
        """The contract of the task, read back from the emulator where possible."""
        ale, settings = self._ale, self._settings
        sticky_of_ale = ale.getFloat("repeat_action_probability")
        skip_of_ale = ale.getInt("frame_skip")
        assert sticky_of_ale == 0.0, f"ALE repeats actions with probability {sticky_of_ale}"
        assert skip_of_ale == 1, f"ALE skips frames itself: frame_skip {skip_of_ale}"
        assert not ale.getBool("color_averaging"), "ALE averages the colours of frames itself"
        return {
            "name": "atari",
            "game": settings.game,
            "ale_py": ale_py.__version__,
            "rom_md5": hashlib.md5(self._rom.read_bytes()).hexdigest(),
            "frame_skip": settings.frame_skip,
            "frame_max_over": 2,
            "sticky_actions": settings.sticky,
            "frame_size": settings.frame_size,
            "resize": "cv2.INTER_AREA",
            "colour": "grayscale" if settings.grayscale else "rgb",
            "noop_max": settings.noop_max,
            "noop_unit": "raw frames",
            "life_loss_ends_episode": self._life_loss_ends_episode,
            "action_set": "full" if settings.full_action_set else "minimal",
            "action_names": [action.name.lower() for action in actions],
            "max_episode_steps": cap,
        }


def _quiet_console() -> ale_py.ALEInterface:
    """An emulator without a game, with all of ALE's own preprocessing switched off."""
    # first, because it prints a message when it is created
    ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)
    ale = ale_py.ALEInterface()
    ale.setFloat("repeat_action_probability", 0.0)
    ale.setInt("frame_skip", 1)
    ale.setInt("random_seed", 0)  # the default is the clock
    return ale
