"""Which family's bodies a foundation model takes, by the beginning of its id."""

from collections.abc import Mapping

from outcrop.runtime.families.anthropic import Anthropic
from outcrop.runtime.families.cohere_command import CohereCommand
from outcrop.runtime.families.deepseek import DeepSeekR1
from outcrop.runtime.families.family import Family
from outcrop.runtime.families.jamba import Jamba
from outcrop.runtime.families.llama import Llama
from outcrop.runtime.families.mistral_chat import MistralChat, MistralEither
from outcrop.runtime.families.mistral_prompt import Defaults, MistralPrompt
from outcrop.runtime.families.nova import Nova
from outcrop.runtime.families.openai import OpenAi
from outcrop.runtime.families.palmyra import Palmyra
from outcrop.runtime.families.titan_text import TitanText

_CHAT = OpenAi("a member of its own")
_MISTRAL_CHAT = MistralChat()
_MISTRAL_PROMPT = MistralPrompt(Defaults(max_tokens=512, temperature=0.5, top_p=0.9, top_k=50))
_MISTRAL_LARGE = MistralPrompt(Defaults(max_tokens=8192, temperature=0.7, top_p=1.0, top_k=None))

FAMILIES: Mapping[str, Family] = {
    "ai21.jamba-": Jamba(),
    "amazon.nova-": Nova(),
    "amazon.titan-text-": TitanText(),
    "anthropic.claude-": Anthropic(),
    "cohere.command-r-": CohereCommand(),
    "deepseek.r1-": DeepSeekR1(),
    "deepseek.v3": _CHAT,
    "google.gemma-": _CHAT,
    "meta.llama": Llama(),
    "minimax.minimax-": _CHAT,
    "mistral.": _CHAT,
    "mistral.mistral-7b-": _MISTRAL_PROMPT,
    "mistral.mistral-large-24": MistralEither(_MISTRAL_LARGE, _MISTRAL_CHAT),
    "mistral.mistral-small-2402-": _MISTRAL_LARGE,
    "mistral.mixtral-": _MISTRAL_PROMPT,
    "mistral.pixtral-": _MISTRAL_CHAT,
    "moonshot.kimi-": _CHAT,
    "moonshotai.kimi-": _CHAT,
    "nvidia.nemotron-": _CHAT,
    "openai.gpt-": _CHAT,
    "openai.gpt-oss-": OpenAi("tags in the text"),
    # Ours has no bodies of its own: it takes those that most clients know.
    "outcrop.": _CHAT,
    "qwen.qwen3-": _CHAT,
    "writer.palmyra-": Palmyra(),
    "xai.grok-": _CHAT,
    "zai.glm-": _CHAT,
}
"""The longest beginning that fits decides."""


def family_of(foundation_model_id: str) -> Family | None:
    beginnings = [beginning for beginning in FAMILIES if foundation_model_id.startswith(beginning)]
    return FAMILIES[max(beginnings, key=len)] if beginnings else None
