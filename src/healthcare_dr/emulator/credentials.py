"""Create the secrets below the home folder once: the certificate authority, the root's secret key, the token key."""

import secrets
from datetime import timedelta

from joserfc.jwk import RSAKey

from healthcare_dr.emulator.configuration import Layout, write_secret
from healthcare_dr.emulator.locks import exclusive

# The names of servers on loopback. API Gateway's host names are one label below execute-api.
SERVER_NAMES = ("127.0.0.1", "localhost", "*.execute-api.localhost")
RSA_BITS = 2048


def make_secrets(layout: Layout) -> None:
    """Create missing secrets. Safe when several processes call it at the same time."""
    layout.make()
    with exclusive(layout.keys / "lock", within=timedelta(seconds=30)):
        if not layout.server_certificate.exists():
            _make_certificates(layout)
        if not layout.root_secret.exists():
            write_secret(layout.root_secret, secrets.token_urlsafe(30).encode())
        if not layout.token_key.exists():
            write_secret(layout.token_key, RSAKey.generate_key(RSA_BITS).as_pem(private=True))


def _make_certificates(layout: Layout) -> None:
    # Slow to import, and only the first start needs it.
    import trustme

    authority = trustme.CA(organization_name="healthcare-dr embedded AWS")
    server = authority.issue_cert(*SERVER_NAMES)
    write_secret(layout.authority_key, authority.private_key_pem.bytes())
    write_secret(layout.authority_certificate, authority.cert_pem.bytes())
    write_secret(layout.server_key, server.private_key_pem.bytes())
    # Last: its presence means that all four files exist.
    write_secret(layout.server_certificate, b"".join(part.bytes() for part in server.cert_chain_pems))
