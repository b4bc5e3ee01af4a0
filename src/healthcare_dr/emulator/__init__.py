"""The embedded AWS: ministack with the patches of this project, an edge proxy, a name server and a token issuer.

Users and tests run it alike: on loopback, over TLS, with IAM enforced, and with persistent state.
"""
