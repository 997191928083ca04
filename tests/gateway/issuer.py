"""A real issuer of tokens: an HTTP server with keys of its own, a discovery document and a JWKS."""

from __future__ import annotations

import base64
import hmac
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from joserfc import jwt
from joserfc.jwk import ECKey, KeySet, OctKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

AUDIENCE = "https://audit.example.com"


class _Everything(JWSRegistry):
    """A dishonest issuer signs with whatever it likes."""

    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]


class Issuer:
    """Signs tokens; `keys` may be exchanged while it runs, `down` makes it answer 503."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {"rsa": RSAKey.generate_key(2048), "ec": ECKey.generate_key("P-256")}
        self.keys["ed"] = OKPKey.generate_key("Ed25519")
        self.fetches = 0
        self.down = False
        self.named: str | None = None
        owner = self

        class Pages(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = owner.page(self.path)
                self.send_response(503 if owner.down else 200 if body else 404)
                self.end_headers()
                if body and not owner.down:
                    self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def page(self, path: str) -> bytes | None:
        if path == "/.well-known/openid-configuration":
            return json.dumps({"issuer": self.named or self.url, "jwks_uri": f"{self.url}/jwks"}).encode()
        if path == "/jwks":
            self.fetches += 1
            published = [dict(key.as_dict(private=False), kid=kid) for kid, key in self.keys.items()]
            unknown = {"kty": "AKP", "kid": "future", "alg": "ML-DSA-44", "pub": "AA"}
            return json.dumps({"keys": [unknown, {"kty": "RSA", "kid": "broken"}, *published]}).encode()
        return None

    def token(self, *, kid: str | None = "rsa", alg: str = "RS256", key: Any = None, **claims: Any) -> str:
        """Return a token that is right but for what the test changes; a claim of None is left out."""
        now = int(time.time())
        given = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "u-1001",
            "iat": now,
            "exp": now + 600,
            "tenant_id": "demo",
            "roles": ["admin"],
        } | claims
        header = {"alg": alg} | ({} if kid is None else {"kid": kid})
        signing = key or self.keys[kid or "rsa"]
        content = {name: value for name, value in given.items() if value is not None}
        return jwt.encode(header, content, signing, registry=_Everything())

    def confused(self, public_key: bytes) -> str:
        """Return a token whose MAC key is the issuer's public key: the classic confusion of algorithms."""
        header, payload, _ = self.token(alg="HS256", key=OctKey.generate_key(256)).split(".")
        mac = hmac.digest(public_key, f"{header}.{payload}".encode(), "sha256")
        return f"{header}.{payload}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


__all__ = ["AUDIENCE", "ECKey", "Issuer", "KeySet", "OKPKey", "OctKey", "RSAKey"]
