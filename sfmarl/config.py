"""One run's settings. The dataclass is the command line: attribute docstrings are its help."""

from __future__ import annotations

import re
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

Mode = Literal["async", "sync", "serial"]
Placement = Literal["worker", "local"]


@dataclass
class LeagueConfig:
    """Settings of a league (`sfmarl league`)."""

    roles: dict[str, str] = field(default_factory=lambda: {"main": "simple"})
    """Learning players and their roles, simple | main | main_exploiter | league_exploiter: `main=main other=...`. Each
    has a learner of its own. All but `simple` choose opponents as in AlphaStar."""
    matchmaker: str = "pfsp?weighting=squared"
    """Whom a `simple` player meets, arguments as in `'name?key=value'` (`sfmarl list`)."""
    self_play: float = 0.35
    """Share of a `simple` player's matches in which it plays itself and learns from all seats."""
    snapshot_env_steps: int = 200_000
    """Env-steps after which a player is snapshotted at the latest."""
    snapshot_win_rate: float = 0.7
    """Win rate against everybody it meets at which it is snapshotted earlier."""
    live_snapshots: int = 16
    """Snapshots that can sit opposite at a time: inference workers hold so many."""
    pool_size: int = 500
    """Snapshots kept; beyond, one goes for each that comes."""
    eviction: str = "thin"
    """Which goes: `thin`, whose neighbours in its player's history are closest together; `oldest`; or a rule of your
    own, `module:callable` or registered, arguments as in `'name?key=value'`."""
    seed_pool: tuple[str, ...] = ()
    """Runs, snapshot directories or URLs whose snapshots the pool begins with; of a run without snapshots its best
    checkpoint's policies (`RUN:POLICY` for one)."""
    scripts: tuple[str, ...] = ("random",)
    """Scripted players of evaluation matches: `random`, or `module:callable`."""
    evaluation_share: float = 0.1
    """Share of the matches in which nobody learns, between those whose payoff is least certain."""
    payoff_decay: float = 0.99
    """Weight that earlier games of two players keep at each new one, since who learns changes (AlphaStar: .99)."""
    meta_strategy: str = "nash"
    """Mixture over the pool for the matchmaker `meta`: `nash` of its payoff, or a JSON file with weights of snapshots,
    a list in their order or an object by address."""
    elo_k: float = 16.0
    """The most that a match moves an Elo rating (K)."""
    elo_base: float = 1200.0
    """Rating of who comes without one, and of the first script among ratings by maximum likelihood."""
    board_seconds: float = 60.0
    """Seconds between pictures of payoff, ratings and opponents in TensorBoard (as numbers in RUN/league.jsonl); fewer
    come when they would take more than 1 % of the time. 0 = only at the end."""

    def __post_init__(self) -> None:
        for name in ("seed_pool", "scripts"):
            value = getattr(self, name)
            setattr(self, name, (value,) if isinstance(value, str) else tuple(value))


@dataclass
class Config:
    """Settings of one training run."""

    env: str
    """Environment: `package.module` (mpe2.simple_spread_v3), `module:callable`, or a known name (`sfmarl list`)."""
    env_kwargs: dict[str, Any] = field(default_factory=dict)
    """Keyword arguments of the environment: `N=3 max_cycles=25` or one JSON object."""

    frame_stack: int = 1
    """Latest observations that an agent sees side by side (images: along their channels); 1 = only the present one."""

    algo: str = "mappo"
    """Algorithm preset (`sfmarl list`)."""
    hp: Any = None
    """The algorithm's hyperparameters; None takes the preset's."""

    seed: int = 1
    """Seed of everything: environments, actions, initial weights, minibatches."""
    mode: Mode = "async"
    """`async`: workers never wait for the update; `sync`: lag 0; `serial`: one process, bit-identical weights."""
    device: str = "auto"
    """Device of inference and learning: auto | cpu | cuda | cuda:1."""
    run_dir: Path | None = None
    """Run directory, which must not exist yet [default: runs/ENV-ALGO-sSEED-TIME]."""

    init_from: str | dict[str, str] = ""
    """Start from another run's weights: a run or checkpoint directory, `RUN:POLICY`, or `POLICY=RUN ...` for some."""

    env_steps: int = 2_000_000
    """Stop after this many environment steps."""
    wall_seconds: float = 0.0
    """Stop after this many seconds; 0 = no limit."""
    stop_score: float | None = None
    """Stop once a periodic evaluation's team return reaches this score."""

    num_workers: int = 0
    """Rollout worker processes; 0 = one per core, at least 2."""
    num_envs_per_worker: int = 32
    """Environments each worker steps, divided evenly over its splits."""
    num_splits: int = 2
    """Groups of a worker's environments that alternate, so that one is stepped while the other waits for actions."""
    inference: Placement = "worker"
    """Where actions are computed: in inference `worker` processes, which batch the rows of many rollout workers, or
    `local`, by every rollout worker for itself on the CPU: no wake-ups, for tiny networks."""
    num_inference_workers: int = 1
    """Inference worker processes (placement `worker`)."""
    rollout: int = 32
    """Time steps of one trajectory slot (T)."""
    ring: int = 2
    """Trajectory slots of a lane; a worker whose ring is full waits for the learner, which bounds policy lag."""
    batch_size: int = 0
    """Agent-steps of one update, rounded up to whole slots; 0 = one slot of half the lanes (async), else of all."""
    max_policy_lag: int = 20
    """Drop slots that hold samples older than this many versions."""

    teams: str = "auto"
    """Who acts with one policy: auto (alike agents; each alone if turn-based) | each | all | JSON {team: [agents]}."""
    policies: dict[str, str] = field(default_factory=dict)
    """Team -> policy name; teams not named get their own. Equal names for opponents: self-play."""
    players: dict[str, Any] = field(default_factory=dict)
    """Policy -> its settings: `prey={"lr": 1e-4}`, or {"frozen": "runs/x"}, or {"script": "module:callable"}."""
    league: Any = None
    """A league's settings (`LeagueConfig`); None trains without one."""
    sharing: str = "full"
    """Parameters inside a team: full | none | a JSON object {agent: role}."""
    death: Literal["terminal", "masked"] = "terminal"
    """A dead agent's return ends (`terminal`) or goes on earning (`masked`, which needs team_reward sum or mean)."""
    team_reward: Literal["env", "sum", "mean"] = "env"
    """Reward learned from: each agent's own, its team's sum, or its mean over all agents, the dead included."""
    state_source: Literal["auto", "env", "joint"] = "auto"
    """Central critic's input: `env.state()`, the team's observations side by side, or whichever exists (env first)."""

    imports: tuple[str, ...] = ()
    """Your own modules or .py files: every process of the run imports them before it looks anything up by name."""
    callbacks: tuple[str, ...] = ()
    """Callbacks of the main process: `name` or `module:callable`, arguments as in `'name?key=value&key=value'`."""
    reward: str = ""
    """Reward shaping: `name` or `module:callable`, arguments as for callbacks; empty = the reward as it is."""
    info_metrics: tuple[str, ...] = ()
    """Entries of the infos to report per episode and team: `key` (its last value), `key:sum` or `key:mean`."""

    max_env_faults: int = 10
    """Failures of environments (exceptions, NaN, wrong shapes) within 100,000 env-steps of a rollout worker after which
    the run stops; up to then each is built anew. 0 = stop at the first."""

    eval_env_steps: int = 200_000
    """Environment steps between periodic evaluations; 0 = none."""
    eval_episodes: int = 40
    """Episodes of a periodic evaluation (greedy)."""
    final_eval_episodes: int = 200
    """Episodes of the final evaluation (greedy); 0 = none."""
    checkpoint_seconds: float = 120.0
    """Seconds between checkpoints (one is always written at the end)."""
    keep_checkpoints: int = 3
    """Latest checkpoints kept, besides the best."""
    log_seconds: float = 5.0
    """Seconds between metric records."""
    learner_threads: int = 0
    """Torch threads of a learner; 0 = 1 up to 4 cores, else half of the cores that no worker uses."""
    device_weights: bool = False
    """On a GPU: learners hand new weights to inference workers in its memory (CUDA IPC), not through the host's."""
    max_restarts: int = 10
    """How often one component may be replaced within ten minutes of its work, after it was killed, hung or could not be
    built again, before the run stops."""
    hang_seconds: float = 60.0
    """A process that made no pass of its loop for so long is killed and replaced (five times as long while it starts);
    0 = never. It must be more than an environment's slowest step or reset and a learner's longest update take."""
    max_worker_gib: float = 0.0
    """A rollout worker whose memory grows beyond this is replaced, as environments may leak; in GiB, 0 = never."""
    max_skipped_updates: int = 50
    """After so many updates in a row whose loss or gradient was not finite the run stops; 0 = never. Such steps are
    not taken in any case."""
    quiet: bool = False
    """Print only warnings and the final result."""

    def __post_init__(self) -> None:
        if isinstance(self.run_dir, str):
            self.run_dir = Path(self.run_dir)
        for name in ("imports", "callbacks", "info_metrics"):
            value = getattr(self, name)
            setattr(self, name, (value,) if isinstance(value, str) else tuple(value))

    def to_json(self) -> dict[str, Any]:
        """Return the settings as plain JSON types."""
        data = asdict(self)
        data["run_dir"] = None if self.run_dir is None else str(self.run_dir)
        return data


def default_run_dir(config: Config) -> Path:
    """Return runs/ENV-ALGO-sSEED-TIME under the working directory, with the local time to the second."""
    env = re.sub(r"[^\w.-]+", "-", config.env)
    return Path("runs") / f"{env}-{config.algo}-s{config.seed}-{time.strftime('%Y%m%d-%H%M%S')}"
