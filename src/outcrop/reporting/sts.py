"""STS: who calls."""

from outcrop.iam.caller import Caller
from outcrop.wire.shapes.sts import GetCallerIdentityRequest, GetCallerIdentityResponse


async def get_caller_identity(
    caller: Caller, _: GetCallerIdentityRequest
) -> GetCallerIdentityResponse:
    return GetCallerIdentityResponse(
        user_id=caller.user_id, account=caller.account_id, arn=caller.arn
    )
