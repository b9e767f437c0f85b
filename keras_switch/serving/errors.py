"""Why a request is not answered, as both protocols say it."""

import enum


class Reason(enum.Enum):
    """Status of HTTP and of gRPC, as TF Serving gives them.

    A full queue is `UNAVAILABLE` there; a client is to tell it from a lost server.
    """

    INVALID = (400, "INVALID_ARGUMENT")
    NO_SIGNATURE = (400, "FAILED_PRECONDITION")
    NOT_FOUND = (404, "NOT_FOUND")
    FULL = (503, "RESOURCE_EXHAUSTED")
    STOPPING = (503, "UNAVAILABLE")
    FAILED = (500, "INTERNAL")

    def __init__(self, http, grpc):
        self.http = http
        self.grpc = grpc


class Refused(Exception):
    """A request without an answer.

    Args:
        message: what came, and what is needed.
        reason: `Reason`.
    """

    def __init__(self, message, reason=Reason.INVALID):
        super().__init__(message)
        self.reason = reason
