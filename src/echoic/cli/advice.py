"""What else helps where a server cannot be had."""

from echoic.client import ServerError


def suggest_fix(error: ServerError) -> str:
    """Return it as a sentence after the error's, or nothing."""
    if error.code == "unreachable" and not error.detail:
        return " Start one in another terminal: echoic serve"
    if error.code == "unauthorized":
        return " The key: --key KEY, or ECHOIC_API_KEY."
    pause = error.detail.get("retry_after")
    return f" It advises to wait {pause:g} s." if isinstance(pause, int | float) else ""
