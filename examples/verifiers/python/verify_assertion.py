"""Checks X-Countersign-Assertion inside an app. Copy this file; it needs `pip install "PyJWT[crypto]"`.
What is checked, and why, is in the README beside it."""

import base64
import hashlib
import threading
import time
import urllib.request

import jwt

TYP = "countersign-assertion+jwt"
SKEW_SECS = 5
REFETCH_SECS = 30
MAX_JWKS_BYTES = 64 * 1024


class Refused(Exception):
    """Answer 401 and serve nothing."""


class Verifier:
    """Checks assertions for one app. `issuer` is https://<auth host>; `app` the app's name at the gateway."""

    def __init__(self, issuer, app, jwks_url):
        self._issuer, self._app, self._jwks_url = issuer, app, jwks_url
        self._keys, self._fetched, self._lock = {}, None, threading.Lock()

    def verify(self, assertion, method, authority, target):
        """The claims, if `assertion` was made for this request. `target` is path?query, as received."""
        try:
            header = jwt.get_unverified_header(assertion)
            if header.get("typ") != TYP or "crit" in header:
                raise Refused("not an assertion")
            claims = jwt.decode(
                assertion, self._key(header.get("kid")), algorithms=["ES256"],
                issuer=self._issuer, audience=self._app, leeway=SKEW_SECS,
                options={"require": ["exp", "iat", "iss", "aud", "sub", "req"], "strict_aud": True},
            )
            digest = base64.urlsafe_b64encode(hashlib.sha256(target.encode("latin-1")).digest())
        except (jwt.PyJWTError, OSError, ValueError) as error:
            raise Refused(str(error)) from error
        if claims["req"] != {"m": method, "a": authority, "p": digest.rstrip(b"=").decode()}:
            raise Refused("made for another request")
        return claims

    def _key(self, kid):
        with self._lock:
            is_due = self._fetched is None or time.monotonic() - self._fetched >= REFETCH_SECS
            if kid not in self._keys and is_due:
                self._fetched = time.monotonic()
                with urllib.request.urlopen(self._jwks_url, timeout=5) as response:
                    served = jwt.PyJWKSet.from_json(response.read(MAX_JWKS_BYTES).decode())
                self._keys = {key.key_id: key for key in served.keys}
            if kid not in self._keys:
                raise Refused("unknown key")
            return self._keys[kid]
