"""What output tokens count in quotas (Amazon User Guide, "Token burndown rate")."""

import re

# Claude before 3.7 burns one for one, as models of other providers do.
_EARLY_CLAUDE = re.compile(r"anthropic\.claude-(v|instant|3-(?!7))")


def burndown_rate(foundation_model_id: str | None) -> int:
    """Quota tokens that one output token costs."""
    if not (foundation_model_id and foundation_model_id.startswith("anthropic.claude")):
        return 1
    return 1 if _EARLY_CLAUDE.match(foundation_model_id) else 5
