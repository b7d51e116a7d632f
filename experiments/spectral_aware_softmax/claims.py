"""Every claim of the abstract of arXiv 2302.01512, on two modalities of our own.

The abstract and the authors' code were read; the tables of the paper were not, so no
effect size is given as the paper's, and every margin is the sign. Margins were fixed
before the run that is reported.
"""

from softmax_jax.evidence.claims import Claim

ABSTRACT = "arXiv 2302.01512, abstract"
DATA = {"synthetic": "made-up identities", "glyphs": "letters without and with serifs"}
# (name, what is said, metric, treatment, control, direction, what the test is)
COMPARED = (
    (
        "better than softmax",
        "SA-Softmax finds identities across modalities better than the softmax loss.",
        "map",
        "spectral_aware",
        "softmax",
        "higher",
        "mAP of unseen identities, queries in the second modality.",
    ),
    (
        "a smaller modality gap",
        "The softmax loss lacks a penalty for the modality gap.",
        "gap",
        "spectral_aware",
        "softmax",
        "lower",
        "How far the two centres of an identity are apart, relative to others.",
    ),
    (
        "the prototype of the other modality",
        "To make the modalities overlap, each sample is optimized by the prototype "
        "from another spectrum.",
        "map",
        "unmasked",
        "own",
        "higher",
        "Against prototypes of the own modality as targets; neither has the mask or "
        "the absolute-similarity term.",
    ),
    (
        "asynchronous prototypes",
        "Prototypes that are optimized asynchronously take the place of synchronous "
        "optimization.",
        "map",
        "spectral_aware",
        "synchronous",
        "higher",
        "Against prototypes that follow the gradient of the network's loss.",
    ),
    (
        "the feature mask",
        "The Feature Mask alleviates ambiguous optimization.",
        "map",
        "masked",
        "unmasked",
        "higher",
        "With and without the own prototype among those that compete.",
    ),
    (
        "the absolute-similarity term",
        "The Absolute-Similarity Term alleviates ambiguous optimization.",
        "map",
        "spectral_aware",
        "masked",
        "higher",
        "With and without the term, both with the mask.",
    ),
)

CLAIMS = [
    *(
        Claim(
            name=f"{name}, {data}",
            says=says,
            source=ABSTRACT,
            verified=True,
            setting="stand_in",
            status="tested",
            why=f"{why} On {what}.",
            study="two_modalities",
            metric=metric,
            treatment=f"{data}_{treatment}",
            control=f"{data}_{control}",
            direction=direction,
            sizes=("quick",),
        )
        for data, what in DATA.items()
        for name, says, metric, treatment, control, direction, why in COMPARED
    ),
    Claim(
        name="persons",
        says="On RegDB and SYSU-MM01 SA-Softmax is superior to the state of the art.",
        source=ABSTRACT,
        verified=True,
        setting="paper",
        status="not_tested",
        why="The folders of both sets can be read, with their rules, but are not at "
        "hand, and the ResNet-50 of the paper is not part of this library.",
    ),
]
