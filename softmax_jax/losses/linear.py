"""The cross-entropy of a linear layer whose logits are never all in memory."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec as P
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from softmax_jax.errors import UserError
from softmax_jax.losses import tiles
from softmax_jax.losses.links import for_tiles, parse_link
from softmax_jax.losses.tiles import Operands, PerToken
from softmax_jax.normalizers.base import Normalizer, compute_dtype
from softmax_jax.target import platform

# Tokens and classes of a tile: what stays in the cache of a CPU, and what keeps the
# matrix units of an accelerator busy, in 128 MiB.
TILES = {"cpu": (512, 2048)}
TILE = (4096, 8192)

Axes = str | tuple[str, ...] | None


def linear_cross_entropy(
    hidden: Float[ArrayLike, "*b d"],
    weight: Float[ArrayLike, "v d"],
    labels: Int[ArrayLike, "*b"],
    bias: Float[ArrayLike, " v"] | None = None,
    *,
    link: str | Normalizer = "softmax",
    z_loss: float = 0.0,
    label_smoothing: float = 0.0,
    tokens: P | None = None,
    vocabulary: Axes = None,
    tile: tuple[int, int] | None = None,
) -> Float[Array, "*b"]:
    """-log p(label), p = softmax(u), u = link(weight @ hidden + bias); one per token.

    Neither the logits nor their gradient are ever in memory beyond one tile of (tokens,
    classes): the backward pass computes them again, from one log-sum-exp per token. The
    result is that of the dense loss, for any sizes. Mathematics and sums are in float32
    or wider, and so is the result; gradients reach everything but the labels, once.

    `link` maps the logits before their softmax: the spec or instance of a normalizer
    that is a softmax of mapped scores ("softmax(temperature=2)", "sigsoftmax",
    "multimax(c1=0.3)", "logistic_softmax", one's own `Ratio` with a `log_weight`), or
    "soft_cap(cap=30)", "plif(intervals=64)", "sigmoid" and "relu", which is normalized
    here. Gradients reach its parameters.

    `label_smoothing` s takes q = (1 - s) [v = label] + s / V for the target, `z_loss`
    adds that times the square of log sum_v e^u_v. A token whose label is negative is
    ignored: it costs 0, has no gradient, and may be NaN. A class whose bias is -inf
    does not take part. As in `sparse_softmax_loss`, a label outside costs NaN.

    With a mesh in use (`jax.set_mesh`), `vocabulary` names the axes that classes are
    split over and `tokens` those of each leading axis of `hidden`; every device
    computes with its own part. `tile` is chosen for the device unless it is given.

    Raises UserError for shapes that do not fit, and for sizes that the mesh cannot
    share evenly.

    >>> import jax.numpy as jnp
    >>> import softmax_jax as sj
    >>> hidden, weight = jnp.array([[1.0, -1.0]]), jnp.array([[2.0, 0.0], [0.0, 1.0]])
    >>> loss = sj.losses.linear_cross_entropy(hidden, weight, jnp.array([1]))
    >>> [round(float(x), 3) for x in loss]
    [3.049]
    """
    found = logits_per_token(
        hidden,
        weight,
        labels,
        bias,
        link=link,
        tokens=tokens,
        vocabulary=vocabulary,
        tile=tile,
    )
    loss = found.mass - found.label
    if label_smoothing:
        classes = jnp.asarray(weight).shape[0]
        number = classes if bias is None else jnp.sum(jnp.asarray(bias) != -jnp.inf)
        mean = found.total / jnp.asarray(number, found.total.dtype)
        loss = (1 - label_smoothing) * loss + label_smoothing * (found.mass - mean)
    if z_loss:
        loss = loss + z_loss * jnp.square(found.mass)
    return jnp.where(jnp.asarray(labels) >= 0, loss, 0)


def logits_per_token(
    hidden: Float[ArrayLike, "*b d"],
    weight: Float[ArrayLike, "v d"],
    labels: Int[ArrayLike, "*b"],
    bias: Float[ArrayLike, " v"] | None = None,
    *,
    link: str | Normalizer = "softmax",
    tokens: P | None = None,
    vocabulary: Axes = None,
    tile: tuple[int, int] | None = None,
) -> PerToken:
    """log sum_v e^u_v, u at the label and sum_v u_v, from which losses are made.

    Arguments are those of `linear_cross_entropy`. The three are differentiable, and
    without meaning where the label is negative.
    """
    hidden, weight = jnp.asarray(hidden), jnp.asarray(weight)
    labels = jnp.asarray(labels, jnp.int32)
    bias = None if bias is None else jnp.asarray(bias)
    tile = _tile(weight.shape[0]) if tile is None else tile
    _check(hidden, weight, labels, bias, tile)
    counted = labels >= 0
    operands = Operands(
        jnp.where(counted[..., None], hidden, 0),
        weight.astype(hidden.dtype),
        bias,
        for_tiles(parse_link(link), compute_dtype(hidden.dtype)),
        labels,
    )
    how = _How(() if tokens is None else tuple(tokens), _names(vocabulary), tile)
    found = _per_token(how, *operands)
    outside = labels >= weight.shape[0]
    return found._replace(label=jnp.where(outside, jnp.nan, found.label))


def _tile(classes: int) -> tuple[int, int]:
    """For the device in use; fewer classes leave room for more tokens."""
    tokens, most = TILES.get(platform(), TILE)
    return tokens * max(1, most // max(1, classes)), most


def _check(hidden, weight, labels, bias, tile) -> None:
    """Refuses shapes that do not fit each other."""
    if weight.ndim != 2 or hidden.shape[-1:] != weight.shape[1:]:
        raise UserError(
            f"linear_cross_entropy: weight must have a row of {hidden.shape[-1]} "
            f"numbers per class, as hidden has them, got shape {weight.shape}"
        )
    if labels.shape != hidden.shape[:-1]:
        raise UserError(
            f"linear_cross_entropy: labels of shape {labels.shape} do not fit hidden "
            f"of shape {hidden.shape}; one label per token is needed"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise UserError(
            f"linear_cross_entropy: bias must have shape {weight.shape[:1]}, got "
            f"{bias.shape}"
        )
    if min(tile) < 1:
        raise UserError(
            f"linear_cross_entropy: tile must be at least (1, 1), got {tile}"
        )


@dataclasses.dataclass(frozen=True)
class _How:
    """In which tiles, and over which axes of the mesh."""

    tokens: tuple[Axes, ...]
    vocabulary: tuple[str, ...]
    tile: tuple[int, int]

    @property
    def token_axes(self) -> tuple[str, ...]:
        return tuple(name for axis in self.tokens for name in _names(axis))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _per_token(how: _How, x, weight, bias, link, labels) -> PerToken:
    return _forward(how, x, weight, bias, link, labels)[0]


def _forward(how: _How, *operands):
    found = _on_devices(how, _numbers, operands, (), _row_specs(how))
    return found, (operands, found.mass)


def _backward(how: _How, residuals, cotangent: PerToken):
    operands, mass = residuals
    rows, classes = _row_specs(how), P(how.vocabulary or None)
    specs = (rows, classes, classes, P())
    dx, dweight, dbias, dlink = _on_devices(
        how, _cotangents, operands, (mass, cotangent), specs
    )
    x, weight, bias, _, _ = operands
    dbias = None if bias is None else dbias.astype(bias.dtype)
    return dx.astype(x.dtype), dweight.astype(weight.dtype), dbias, dlink, None


_per_token.defvjp(_forward, _backward)


def _numbers(how: _How, x, weight, bias, link, labels) -> PerToken:
    """The three numbers of this device's tokens, over the classes of all devices."""
    flat = _flat(how, x, weight, bias, link, labels)
    top, mass, label, total = tiles.accumulate(flat, how.tile)
    if how.vocabulary:
        here, top = top, jax.lax.pmax(top, how.vocabulary)
        mass = mass * jnp.exp(here - top)
        mass, label, total = jax.lax.psum((mass, label, total), how.vocabulary)
    found = PerToken(top + jnp.log(mass), label, total)
    return PerToken(*(array.reshape(labels.shape) for array in found))


def _cotangents(how: _How, x, weight, bias, link, labels, mass, cotangent):
    """Those of this device's tokens and classes, summed over the others."""
    flat = _flat(how, x, weight, bias, link, labels)
    by_token = PerToken(*(array.reshape(-1) for array in cotangent))
    dx, dweight, dbias, dlink = tiles.pull_back(
        flat, mass.reshape(-1), by_token, how.tile
    )
    if how.vocabulary:
        dx = jax.lax.psum(dx, how.vocabulary)
    if how.token_axes:
        dweight, dbias = jax.lax.psum((dweight, dbias), how.token_axes)
    everywhere = (*how.vocabulary, *how.token_axes)
    if everywhere:
        dlink = jax.lax.psum(dlink, everywhere)
    return dx.reshape(x.shape), dweight, dbias, dlink


def _flat(how: _How, x, weight, bias, link, labels) -> Operands:
    """One axis of tokens, and labels counted from this device's first class."""
    labels = labels.reshape(-1)
    if how.vocabulary:
        part = jax.lax.axis_index(how.vocabulary)
        labels = labels - part.astype(labels.dtype) * weight.shape[0]
    return Operands(x.reshape(-1, x.shape[-1]), weight, bias, link, labels)


def _on_devices(
    how: _How, function: Callable[..., Any], operands, more, results: Any
) -> Any:
    """The function of what each device has, in the places of the mesh in use."""
    local = functools.partial(function, how)
    names = (*how.vocabulary, *how.token_axes)
    if not names:
        return local(*operands, *more)
    x, weight = operands[:2]
    _check_mesh(how, x, weight)
    rows, classes = _row_specs(how), P(how.vocabulary or None)
    return jax.shard_map(
        local,
        in_specs=(rows, classes, classes, P(), rows, *(rows for _ in more)),
        out_specs=results,
        axis_names=frozenset(names),
        # Carries of loops begin alike on all devices, which this check would refuse.
        check_vma=False,
    )(*operands, *more)


def _row_specs(how: _How) -> P:
    return P(*how.tokens)


def _check_mesh(how: _How, x: Array, weight: Array) -> None:
    """Refuses axes that the mesh in use lacks, and sizes that it cannot share."""
    mesh = jax.sharding.get_abstract_mesh()
    for name in (*how.vocabulary, *how.token_axes):
        if name not in mesh.axis_names:
            raise UserError(
                f"linear_cross_entropy: the mesh in use has no axis {name}; it has "
                f"{mesh.axis_names or 'no axes; see jax.set_mesh'}"
            )
    if len(how.tokens) >= x.ndim:
        raise UserError(
            f"linear_cross_entropy: tokens={P(*how.tokens)} has more axes than there "
            f"are before the last of hidden, whose shape is {x.shape}"
        )
    shares = [("vocabulary", weight.shape[0], how.vocabulary)]
    pairs = zip(x.shape, how.tokens, strict=False)
    shares += [("tokens", size, _names(axis)) for size, axis in pairs]
    for what, size, axes in shares:
        parts = math.prod(mesh.shape[name] for name in axes)
        if size % parts:
            raise UserError(
                f"linear_cross_entropy: {what} of {size} do not divide by the {parts} "
                "devices that they are split over"
            )


def _names(axes: Axes) -> tuple[str, ...]:
    return () if axes is None else (axes,) if isinstance(axes, str) else tuple(axes)
