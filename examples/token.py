"""A backend's function that gives its signed-in user a token for the gateway. Python 3.9, no packages.

RELAY_JWT_SECRET=… python3 examples/token.py acme:42
"""
import base64
import hashlib
import hmac
import json
import os
import sys
import time


def relay_token(user: str, secret: str, seconds: int = 900) -> str:
    def encode(part: bytes) -> str:
        return base64.urlsafe_b64encode(part).rstrip(b"=").decode()

    now = int(time.time())
    claims = {"iss": "https://app.example.com", "aud": "claimr-relay", "sub": user, "iat": now, "exp": now + seconds}
    signed = ".".join(encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return f"{signed}.{encode(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())}"


if __name__ == "__main__":
    print(relay_token(sys.argv[1], os.environ["RELAY_JWT_SECRET"]))
