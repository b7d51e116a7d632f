"""The lookup model is initialised as its configuration says."""

import pytest
from flax import nnx

from softmax_jax.evidence.studies.lookup import LookupConfig, LookupModel


@pytest.mark.slow
@pytest.mark.parametrize(("asked", "found"), [(None, 1 / 16), (1.0, 1.0)])
def test_embeddings_have_the_variance_asked_for(asked, found) -> None:
    config = LookupConfig(width=16, vocabulary=512, embedding_variance=asked)
    model = LookupModel(config, rngs=nnx.Rngs(0))
    for embed in (model.key_embedding, model.value_embedding):
        assert embed.embedding[...].var() == pytest.approx(found, rel=0.3)
