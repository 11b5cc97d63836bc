"""Which embedding family's bodies a foundation model takes, by the beginning of its id."""

from collections.abc import Mapping

from outcrop.runtime.families.cohere_embed import CohereEmbedV3, CohereEmbedV4
from outcrop.runtime.families.embedding import EmbeddingFamily
from outcrop.runtime.families.titan_embed import TitanEmbedImage, TitanEmbedV1, TitanEmbedV2

EMBEDDING_FAMILIES: Mapping[str, EmbeddingFamily] = {
    "amazon.titan-embed-g1-text-": TitanEmbedV1(),
    "amazon.titan-embed-image-v1": TitanEmbedImage(),
    "amazon.titan-embed-text-v1": TitanEmbedV1(),
    "amazon.titan-embed-text-v2": TitanEmbedV2(1024, 512, 256),
    "cohere.embed-english-v3": CohereEmbedV3(),
    "cohere.embed-multilingual-v3": CohereEmbedV3(),
    "cohere.embed-v4": CohereEmbedV4(),
    # Ours has no bodies of its own: it takes the plainest there are.
    "outcrop.all-minilm-l6-v2-": TitanEmbedV2(384),
}


def embedding_family_of(foundation_model_id: str) -> EmbeddingFamily | None:
    for beginning, family in EMBEDDING_FAMILIES.items():
        if foundation_model_id.startswith(beginning):
            return family
    return None
