"""What a model server can do: what a caller asks beyond it is refused, or done another way."""

from msgspec import Struct


class Capabilities(Struct, frozen=True, kw_only=True):
    tools: bool = True
    images: bool = True
    documents: bool = False
    """Whether it reads files itself; for others the text is taken out of them."""
    json_schema: bool = True
    """Whether it can be held to a schema while it writes."""
    reasoning: bool = True
    completions: bool = True
    """Whether it goes on from a raw prompt."""
    prefill: bool = True
    """Whether it may be told to go on with a last message of the assistant's."""
