"""What schemathesis sends with its requests: signatures, tokens of users that end within a second, and the admin token."""

import base64
import hashlib
import hmac
import json
import os
import time

import schemathesis
from requests.auth import AuthBase


def encoded(part):
    return base64.urlsafe_b64encode(part).rstrip(b"=").decode()


def token_of_a_moment():
    """A stream ends with its token, and schemathesis reads streams to their end."""
    claims = {"sub": "42", "iss": "https://app.example.com", "aud": "claimr-relay", "exp": int(time.time()) + 1}
    signed = ".".join(encoded(json.dumps(part).encode()) for part in ({"alg": "HS256"}, claims))
    return signed + "." + encoded(hmac.digest(os.environ["JWT_SECRET"].encode(), signed.encode(), "sha256"))


class Signature(AuthBase):
    """Over the bytes as they are sent."""

    def __call__(self, request):
        body = request.body or b""
        body = body.encode() if isinstance(body, str) else body
        request.headers["X-Signature"] = hmac.new(os.environ["HOOK_SECRET"].encode(), body, hashlib.sha256).hexdigest()
        return request


class Bearer(AuthBase):
    def __init__(self, token):
        self.token = token

    def __call__(self, request):
        request.headers["Authorization"] = "Bearer " + self.token()
        request.register_hook("response", leave_upgraded)
        return request


def leave_upgraded(response, **_):
    """The library would ask for something else on a connection that speaks WebSocket now."""
    if response.status_code == 101:
        response.raw._connection.close()


schemathesis.auth.set_from_requests(Signature()).apply_to(path_regex="^/hooks/")
schemathesis.auth.set_from_requests(Bearer(token_of_a_moment)).apply_to(path_regex="^/v1/")
schemathesis.auth.set_from_requests(Bearer(lambda: os.environ["ADMIN_TOKEN"])).apply_to(path_regex="^/admin/")
