"""The headers of docs/reference/api.md, of which an OpenAPI document says little; the tests see each at a service."""

from service.api.intake import TIMEOUT_HEADER

GIVEN = {
    "Authorization": "`Bearer TOKEN`: the API key",
    "X-API-Key": "the API key, for who cannot set the other",
    "X-Request-ID": "what the client calls its request: up to 128 letters, digits and `._:-`, else it gets a new id",
    TIMEOUT_HEADER: "milliseconds from the request's head to its deadline, at most setting max_request_timeout_ms",
    "Accept": "`application/json`, or `image/jpeg`, `image/png` or `image/webp` for the annotated picture",
    "Cache-Control": "`no-cache` has the picture inferred anew, `no-store` keeps it out of the cache altogether",
    "traceparent": "W3C trace context, which is continued where the service is traced",
}
ANSWERED = {
    "X-Request-ID": "the request's id, as in the log and in every error",
    "Server-Timing": "milliseconds of each stage, and in all",
    "Cache-Status": "of a detection: how the cache of candidates was used, after RFC 9211",
    "RateLimit-Limit": "where the client has a rate: most requests in the window",
    "RateLimit-Remaining": "how many are left",
    "RateLimit-Reset": "seconds until there are all again",
    "RateLimit-Policy": "the rate: the limit, and `w=` the window in seconds",
    "Retry-After": "seconds after which another try may succeed, with 429, 502 and 503",
    "WWW-Authenticate": "how to show a key, with 401",
    "Allow": "which methods the route has, with 405",
    "Connection": "`close` where the rest of a body is not read, and while the service shuts down",
}
