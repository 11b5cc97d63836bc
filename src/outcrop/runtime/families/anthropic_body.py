"""The body of Anthropic's Messages API as Bedrock takes it: which keys and blocks there are."""

from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

from outcrop.runtime.families.schema import StopSequence

# Amazon's documentation names the first alone (model-parameters-anthropic-claude-messages-request-
# response); anthropic 2.12 for Python sends the second to Bedrock.
Version = Literal["bedrock-2023-05-31", "2026-10-21"]
MediaType = Literal["image/png", "image/jpeg", "image/gif", "image/webp"]
Text = str
Fraction = Annotated[float, Meta(ge=0, le=1)]


class CacheControl(Struct, frozen=True, tag="ephemeral", forbid_unknown_fields=True):
    ttl: Literal["5m", "1h"] | None = None
    scope: str | None = None


class Citations(Struct, frozen=True, forbid_unknown_fields=True):
    enabled: bool = False


class TextBlock(Struct, frozen=True, tag="text", forbid_unknown_fields=True):
    text: Text
    cache_control: CacheControl | None = None
    citations: list[Raw] | None = None


class Base64Image(Struct, frozen=True, tag="base64", forbid_unknown_fields=True):
    media_type: MediaType
    data: bytes


class Image(Struct, frozen=True, tag="image", forbid_unknown_fields=True):
    source: Base64Image
    cache_control: CacheControl | None = None


class Base64Pdf(Struct, frozen=True, tag="base64", forbid_unknown_fields=True):
    media_type: Literal["application/pdf"]
    data: bytes


class PlainText(Struct, frozen=True, tag="text", forbid_unknown_fields=True):
    media_type: Literal["text/plain"]
    data: str


class Content(Struct, frozen=True, tag="content", forbid_unknown_fields=True):
    content: list[TextBlock] | str


class Document(Struct, frozen=True, tag="document", forbid_unknown_fields=True):
    source: Base64Pdf | PlainText | Content
    title: str | None = None
    context: str | None = None
    citations: Citations | None = None
    cache_control: CacheControl | None = None


class SearchResult(Struct, frozen=True, tag="search_result", forbid_unknown_fields=True):
    source: str
    title: str
    content: list[TextBlock]
    citations: Citations | None = None
    cache_control: CacheControl | None = None


class ToolUse(Struct, frozen=True, tag="tool_use", forbid_unknown_fields=True):
    id: str
    name: str
    input: Raw
    cache_control: CacheControl | None = None
    caller: Raw = Raw()


class ServerToolUse(Struct, frozen=True, tag="server_tool_use", forbid_unknown_fields=True):
    """A call of one of Anthropic's own tools, which Anthropic answers itself, in the same turn."""

    id: str
    name: str
    input: Raw
    cache_control: CacheControl | None = None
    caller: Raw = Raw()


class ToolSearchResult(
    Struct, frozen=True, tag="tool_search_tool_result", forbid_unknown_fields=True
):
    """The only one of those tools that Bedrock offers."""

    tool_use_id: str
    content: Raw
    cache_control: CacheControl | None = None


class ToolReference(Struct, frozen=True, tag="tool_reference", forbid_unknown_fields=True):
    """What a search among deferred tools found, where the caller searches."""

    tool_name: str


ResultPart = TextBlock | Image | Document | SearchResult | ToolReference


class ToolResult(Struct, frozen=True, tag="tool_result", forbid_unknown_fields=True):
    tool_use_id: str
    content: list[ResultPart] | str | None = None
    is_error: bool | None = None
    cache_control: CacheControl | None = None


class Thinking(Struct, frozen=True, tag="thinking", forbid_unknown_fields=True):
    thinking: str
    signature: str | None = None


class RedactedThinking(Struct, frozen=True, tag="redacted_thinking", forbid_unknown_fields=True):
    data: str


Block = (
    TextBlock
    | Image
    | Document
    | SearchResult
    | ToolUse
    | ToolResult
    | ServerToolUse
    | ToolSearchResult
    | Thinking
    | RedactedThinking
)


class Turn(Struct, frozen=True, forbid_unknown_fields=True):
    role: Literal["user", "assistant"]
    content: list[Block] | str


class ToolKind(Struct, frozen=True):
    """One of Anthropic's own tools by its `type`, with keys of its own; or one of the caller's."""

    type: str | None = None
    name: str | None = None


class ToolDefinition(Struct, frozen=True, forbid_unknown_fields=True):
    """A tool of the caller's."""

    name: str | None = None
    type: Literal["custom"] | None = None
    description: str | None = None
    input_schema: Raw = Raw()
    strict: bool | None = None
    cache_control: CacheControl | None = None
    # What Converse has no members for.
    allowed_callers: list[str] | None = None
    defer_loading: bool | None = None
    eager_input_streaming: bool | None = None
    input_examples: list[Raw] | None = None

    @property
    def says_more_than_converse(self) -> bool:
        more = (self.allowed_callers, self.defer_loading, self.input_examples)
        return any(more) or self.eager_input_streaming is not None


class ToolChoice(Struct, frozen=True, forbid_unknown_fields=True):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class OutputFormat(Struct, frozen=True, tag="json_schema", forbid_unknown_fields=True):
    schema: Raw
    name: str | None = None


class OutputConfig(Struct, frozen=True, forbid_unknown_fields=True):
    format: OutputFormat | None = None
    effort: str | None = None


class Metadata(Struct, frozen=True, forbid_unknown_fields=True):
    user_id: str | None = None


class Body(Struct, frozen=True, forbid_unknown_fields=True):
    anthropic_version: Version
    max_tokens: Annotated[int, Meta(ge=1)]
    messages: Annotated[list[Turn], Meta(min_length=1)]
    system: list[TextBlock] | str | None = None
    temperature: Fraction | None = None
    top_p: Fraction | None = None
    top_k: Annotated[int, Meta(ge=0)] | None = None
    stop_sequences: Annotated[list[StopSequence], Meta(max_length=8191)] | None = None
    tools: list[Raw] | None = None
    tool_choice: ToolChoice | None = None
    thinking: Raw = Raw()
    anthropic_beta: list[str] | None = None
    metadata: Metadata | None = None
    context_management: Raw = Raw()
    output_config: OutputConfig | None = None
    output_format: OutputFormat | None = None
    cache_control: CacheControl | None = None
