"""Whether a request may go ahead, and what is told of the decision."""

from datetime import datetime

from outcrop.iam.access import AuthorizationRequest, Needs, authorized
from outcrop.iam.authenticator import Identified
from outcrop.iam.policy.context import Environment
from outcrop.iam.policy.evaluation import Decision
from outcrop.wire.http import HttpRequest


def decide(
    identified: Identified, operation: str, needs: Needs, environment: Environment
) -> Decision:
    return authorized(
        AuthorizationRequest(
            operation=operation,
            environment=environment,
            resources=needs.resources,
            request_tags=needs.request_tags,
            tag_keys=needs.tag_keys,
            service_tier=needs.service_tier,
            guardrail_identifier=needs.guardrail_identifier,
            bearer_token_type=identified.bearer_token_type,
            keys=needs.keys,
            besides=needs.besides,
        ),
        identified.authorizer,
    )


def may_be_denied(identified: Identified, needs: Needs) -> bool:
    """What a root user without limits does: only at another account's, or where a policy is."""
    if not identified.authorizer.is_unrestricted or identified.shared_arn is not None:
        return True
    return any(resource.policy is not None for resource in needs.resources)


def environment_of(request: HttpRequest, now: datetime, *, is_secure: bool) -> Environment:
    return Environment(
        now=now,
        source_ip=request.source_address or None,
        is_secure=is_secure,
        user_agent=request.headers.get("user-agent"),
        referer=request.headers.get("referer"),
    )
