"""The two-modality study: identities looked for across modalities that differ."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from softmax_jax.analysis.retrieval import retrieval
from softmax_jax.data import two_modalities
from softmax_jax.data.reid_folder import counted
from softmax_jax.data.two_modalities import Parts, Sightings
from softmax_jax.errors import UserError
from softmax_jax.evidence.outcome import Outcome
from softmax_jax.losses import spectral_aware
from softmax_jax.optim import OptimizerConfig, make_optimizer
from softmax_jax.training.progress import progress_bar

CHUNK = 100  # training steps per call
LOSSES = ("softmax", "own_modality", "spectral_aware")


@dataclass(frozen=True)
class SpectralAwareConfig:
    """One arm of the two-modality study.

    Attributes:
      data: what `two_modalities.load` knows.
      loss: "softmax", the shared classifier alone; or with the prototypes of the
        modalities beside it: "own_modality", each sample drawn to that of its own, or
        "spectral_aware", to that of the other.
      asynchronous: whether prototypes take a step of their own, towards their own
        modality, after that of the network; otherwise they follow the network's loss.
      mask: whether the prototype in the own modality is kept from competing.
      spectral, similarity: weights of the part with the prototypes, and of the
        absolute-similarity term.
      hidden, width: of the shared layer and of the features.
      people, shots: of a batch: identities, and images of each in either modality.
      steps, optimizer: of the training.
    """

    data: str = "synthetic"
    loss: str = "spectral_aware"
    asynchronous: bool = True
    mask: bool = True
    spectral: float = 0.7
    similarity: float = 1.0
    hidden: int = 64
    width: int = 32
    people: int = 8
    shots: int = 4
    steps: int = 600
    optimizer: OptimizerConfig = OptimizerConfig(learning_rate=3e-3, weight_decay=0.01)

    def __post_init__(self) -> None:
        if self.loss not in LOSSES:
            raise UserError(f"loss={self.loss!r} is unknown; use {', '.join(LOSSES)}")
        if self.loss == "own_modality" and self.asynchronous:
            raise UserError("loss='own_modality' trains its prototypes synchronously")


class Network(nnx.Module):
    """A layer for each modality, a shared one, features, and the classifier of them.

    The features are normalized over the batch, without a shift.
    """

    def __init__(
        self, config: SpectralAwareConfig, inputs: int, count: int, *, rngs: nnx.Rngs
    ):
        self.stems = nnx.List(
            [nnx.Linear(inputs, config.hidden, rngs=rngs) for _ in range(2)]
        )
        self.shared = nnx.Linear(config.hidden, config.hidden, rngs=rngs)
        self.out = nnx.Linear(config.hidden, config.width, use_bias=False, rngs=rngs)
        self.norm = nnx.BatchNorm(config.width, use_bias=False, momentum=0.9, rngs=rngs)
        draw = nnx.initializers.normal(1e-3)
        self.classifier = nnx.Param(draw(rngs.params(), (count, config.width)))

    def __call__(self, seen: Sightings, *, train: bool) -> jax.Array:
        features = jnp.asarray(seen.features)
        first, second = (stem(features) for stem in self.stems)
        own = jnp.where((seen.modalities == 0)[:, None], first, second)
        hidden = nnx.relu(self.shared(nnx.relu(own)))
        return self.norm(self.out(hidden), use_running_average=not train)


class State(NamedTuple):
    """What a step changes: network, running means, prototypes, and their optimizers."""

    params: Any
    means: Any
    prototypes: Any
    network_optimizer: Any
    prototype_optimizer: Any


def run(config: SpectralAwareConfig, seed: int, folder: Path, label: str) -> Outcome:
    """Trains one arm and looks for unseen identities across the modalities.

    `map`, `minp`, `rank-1` and `rank-10` are those of queries in modality 1. `gap` is
    the distance between the two centres of an identity, one per modality, over that
    between centres of different identities and modalities, both means.
    """
    parts = two_modalities.load(config.data, seed)
    count = int(parts.train.identities.max()) + 1
    inputs = parts.train.features.shape[1]
    model = Network(config, inputs, count, rngs=nnx.Rngs(seed))
    loss = train(config, model, parts.train, seed, label)
    return Outcome(judge(model, parts) | {"training_loss": loss})


def train(
    config: SpectralAwareConfig, model: Network, seen: Sightings, seed: int, label: str
) -> float:
    """Trains `model`; the mean loss of the network over the last steps."""
    graph, params, means = nnx.split(model, nnx.Param, ...)
    count, width = params["classifier"].shape
    rng = np.random.default_rng(seed)
    drawn = 1e-3 * rng.normal(size=(2 * count, width))
    prototypes = nnx.Param(jnp.asarray(drawn, jnp.float32))
    optimizers = [
        make_optimizer(config.optimizer, config.steps, x).init(x)
        for x in (params, prototypes)
    ]
    state = jax.tree.map(jnp.copy, State(params, means, prototypes, *optimizers))
    chosen = batches(rng, seen, config.steps, config.people, config.shots)
    rows = jax.tree.map(jnp.asarray, seen)
    loss = float("nan")
    with progress_bar(config.steps, label) as bar:
        for start in range(0, config.steps, CHUNK):
            some = jnp.asarray(chosen[start : start + CHUNK])
            state, losses = _chunk(config, graph, state, rows, some)
            loss = float(losses.mean())
            bar.update(len(some), loss=f"{loss:.4f}")
    nnx.update(model, state.params, state.means)
    return loss


def batches(
    rng: np.random.Generator, seen: Sightings, steps: int, people: int, shots: int
) -> np.ndarray:
    """Rows of every batch: so many identities, so many shots of each per modality."""
    count = int(seen.identities.max()) + 1
    groups = [
        [
            np.flatnonzero((seen.identities == person) & (seen.modalities == modality))
            for modality in (0, 1)
        ]
        for person in range(count)
    ]
    chosen = rng.permuted(np.tile(np.arange(count), (steps, 1)), axis=1)[:, :people]
    return np.array(
        [
            [rng.choice(rows, shots) for person in batch for rows in groups[person]]
            for batch in chosen
        ]
    ).reshape(steps, -1)


@partial(jax.jit, static_argnames=("config", "graph"), donate_argnames="state")
def _chunk(
    config: SpectralAwareConfig,
    graph: nnx.GraphDef,
    state: State,
    rows: Sightings,
    chosen: jax.Array,
) -> tuple[State, jax.Array]:
    """One step of the network, and of the prototypes, per row of `chosen`."""
    optimizers = [
        make_optimizer(config.optimizer, config.steps, x)
        for x in (state.params, state.prototypes)
    ]

    def features(params: Any, means: Any, batch: Sightings) -> tuple[jax.Array, Any]:
        model = nnx.merge(graph, params, means, copy=True)  # it changes its means
        found = model(batch, train=True)
        return found, nnx.split(model, nnx.Param, ...)[2]

    def network(params, prototypes, means, batch) -> tuple[jax.Array, Any]:
        found, means = features(params, means, batch)
        classifier = params["classifier"][...]
        given = (found, classifier, prototypes[...], batch)
        return _objective(config, *given), means

    def after(prototypes, params, means, batch) -> jax.Array:
        found, _ = features(params, means, batch)
        given = (prototypes[...], batch.identities, batch.modalities)
        return spectral_aware.prototype_loss(found, *given).mean()

    def step(state: State, batch_rows: jax.Array) -> tuple[State, jax.Array]:
        batch = jax.tree.map(lambda array: array[batch_rows], rows)
        params, means, prototypes, *inner = state
        gradient = jax.value_and_grad(network, (0, 1), has_aux=True)
        (loss, means), found = gradient(params, prototypes, means, batch)
        updates, first = optimizers[0].update(found[0], inner[0], params)
        params = optax.apply_updates(params, updates)
        to_prototypes = found[1]
        if config.asynchronous:
            to_prototypes = jax.grad(after)(prototypes, params, means, batch)
        updates, second = optimizers[1].update(to_prototypes, inner[1], prototypes)
        prototypes = optax.apply_updates(prototypes, updates)
        return State(params, means, prototypes, first, second), loss

    return jax.lax.scan(step, state, chosen)


def _objective(
    config: SpectralAwareConfig,
    features: jax.Array,
    classifier: jax.Array,
    prototypes: jax.Array,
    batch: Sightings,
) -> jax.Array:
    """What the network minimises; without gradient to asynchronous prototypes."""
    labels, modalities = map(jnp.asarray, batch[1:3])
    shared = spectral_aware.identity_loss(features, classifier, labels)
    if config.loss == "softmax":
        return shared.mean()
    if config.asynchronous:
        prototypes = jax.lax.stop_gradient(prototypes)
    given = (features, prototypes, labels, modalities)
    if config.loss == "own_modality":
        drawn = spectral_aware.own_modality_loss(*given)
    else:
        drawn = spectral_aware.other_modality_loss(*given, mask=config.mask)
    total = (1 - config.spectral) * shared + config.spectral * drawn
    if config.similarity:
        similarity = spectral_aware.absolute_similarity(*given)
        total = total + config.similarity * similarity
    return total.mean()


def judge(model: nnx.Module, parts: Parts) -> dict[str, float]:
    """What `run` says of the queries and the gallery."""
    query, gallery = (_features(model, x) for x in (parts.query, parts.gallery))
    (_, asked, _, first), (_, shown, _, second) = (
        map(np.asarray, x) for x in (parts.query, parts.gallery)
    )
    found = retrieval(
        query @ gallery.T,
        asked,
        shown,
        counted(first, second, parts.skipped),
        ranks=(1, 10),
        distinct=parts.distinct,
    )
    return found | {"gap": modality_gap(query, gallery, parts)}


def _features(model: nnx.Module, seen: Sightings) -> np.ndarray:
    """Of length 1."""
    graph, state = nnx.split(model)
    found = np.asarray(_evaluate(graph, state, jax.tree.map(jnp.asarray, seen)))
    return found / np.linalg.norm(found, axis=1, keepdims=True)


@partial(jax.jit, static_argnames="graph")
def _evaluate(graph: nnx.GraphDef, state: Any, seen: Sightings) -> jax.Array:
    return nnx.merge(graph, state)(seen, train=False)


def modality_gap(query: np.ndarray, gallery: np.ndarray, parts: Parts) -> float:
    """Distance of an identity's centres over that of different identities' centres."""
    people = np.intersect1d(parts.query.identities, parts.gallery.identities)
    first, second = (
        np.stack([features[seen.identities == person].mean(0) for person in people])
        for features, seen in ((query, parts.query), (gallery, parts.gallery))
    )
    apart = np.linalg.norm(first[:, None] - second[None], axis=-1)
    own = np.eye(len(people), dtype=bool)
    return float(apart[own].mean() / apart[~own].mean())
