"""`linear_cross_entropy` against the dense loss, optax and tokamax: time and memory."""

import importlib.util
from collections.abc import Callable, Iterator, Sequence

import jax
import jax.numpy as jnp
import optax
from jax import Array
from rich.table import Table

import softmax_jax as sj
from benchmarks.report import compare
from benchmarks.timing import Contestant, compiled, forward_and_backward
from softmax_jax.heads import mixture_cross_entropy
from softmax_jax.losses.links import parse_link

MISSING = "tokamax was left out: it is not installed."
LINKS = ("softmax", "sigsoftmax", "soft_cap")
COMPONENTS = 15
# Tokens, classes and width: where the dense loss fits, and where it need not.
FITS = ((2048, 16_000, 64), (2048, 16_000, 256), (1024, 50_257, 256))
LARGE = (8192, 262_144, 512)

Loss = Callable[[Array, Array, Array], Array]  # of hidden, weight, labels: the sum


def tables(
    fits: Sequence[tuple[int, int, int]] = FITS,
    large: tuple[int, int, int] = LARGE,
    rounds: int = 5,
) -> Iterator[Table | str]:
    """A race for each shape and link that fit, and the memory where they need not."""
    if importlib.util.find_spec("tokamax") is None:
        yield MISSING
    for tokens, classes, width in fits:
        for link in LINKS:
            title = f"{link}: T = {tokens}, V = {classes}, d = {width}, float32"
            yield compare(title, contestants(link, tokens, classes, width), rounds)
    yield memory(*large)


def dense(link: str) -> Loss:
    """Through all logits, by the link's own formula."""
    log_weight = parse_link(link).log_weight

    def loss(x: Array, weight: Array, labels: Array) -> Array:
        log_p = jax.nn.log_softmax(log_weight(x @ weight.T))
        return -jnp.take_along_axis(log_p, labels[:, None], axis=1).sum()

    return loss


def ours(link: str) -> Loss:
    def loss(x: Array, weight: Array, labels: Array) -> Array:
        return sj.losses.linear_cross_entropy(x, weight, labels, link=link).sum()

    return loss


def peers() -> dict[str, Loss]:
    """The loss of softmax as others compute it."""

    def by_optax(x: Array, weight: Array, labels: Array) -> Array:
        logits = x @ weight.T
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).sum()

    known: dict[str, Loss] = {"optax": by_optax}
    if importlib.util.find_spec("tokamax") is not None:
        import tokamax

        def by_tokamax(x: Array, weight: Array, labels: Array) -> Array:
            return tokamax.linear_softmax_cross_entropy_loss(x, labels, weight.T)

        known["tokamax"] = by_tokamax
    return known


def contestants(link: str, tokens: int, classes: int, width: int) -> list[Contestant]:
    """The losses of a link with their gradients by hidden states and class vectors."""
    keys = jax.random.split(jax.random.key(0), 3)
    x = jax.random.normal(keys[0], (tokens, width))
    weight = jax.random.normal(keys[1], (classes, width)) / width**0.5
    labels = jax.random.randint(keys[2], (tokens,), 0, classes)

    def entry(name: str, loss: Loss, is_peer: bool) -> Contestant:
        both = forward_and_backward(lambda x, weight: loss(x, weight, labels))
        return compiled(name, both, x, weight, jnp.float32(1), is_peer=is_peer)

    known = {"dense": dense(link)} | (peers() if link == "softmax" else {})
    theirs = [entry(name, loss, True) for name, loss in known.items()]
    return [*theirs, entry(f"sj {link}", ours(link), False)]


def memory(tokens: int, classes: int, width: int) -> Table:
    """What each program needs beside its operands and results: compiled, not run."""

    def floats(*sizes: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(sizes, jnp.float32)

    labels = jax.ShapeDtypeStruct((tokens,), jnp.int32)
    head = floats(tokens, width), floats(classes, width)
    mixing = floats(width, COMPONENTS * width), floats(width, COMPONENTS)
    losses = {"dense": dense("softmax")} | peers()
    losses |= {f"sj {link}": ours(link) for link in LINKS}
    programs = {name: jax.grad(loss, (0, 1)) for name, loss in losses.items()}
    title = f"T = {tokens}, V = {classes}, d = {width}, float32; compiled, not run"
    table = Table(title=title, title_justify="left")
    table.add_column("forward and backward", no_wrap=True)
    table.add_column("temp MiB", justify="right")
    rows = {name: (program, (*head, labels)) for name, program in programs.items()}
    mixture = jax.grad(mixture_of_softmaxes, (0, 1, 2, 3))
    rows[f"sj MoS, K = {COMPONENTS}"] = mixture, (*head, *mixing, labels)
    for name, (program, operands) in rows.items():
        analysis = jax.jit(program).lower(*operands).compile().memory_analysis()
        table.add_row(name, f"{analysis.temp_size_in_bytes / 2**20:.0f}")
    return table


def mixture_of_softmaxes(
    x: Array, weight: Array, latent: Array, prior: Array, labels: Array
) -> Array:
    """The loss of the whole head, from hidden states on."""
    latents = jnp.tanh(x @ latent).reshape(*x.shape[:-1], -1, x.shape[-1])
    return mixture_cross_entropy(latents, x @ prior, weight, labels).sum()
