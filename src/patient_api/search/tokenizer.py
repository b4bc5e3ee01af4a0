"""Derive the index tokens of resources and of searches, and blind them before they become keys."""

from patient_api.search.parameters import PARAMETERS, Resource
from patient_api.secrets import Secrets
from patient_api.store.model import Token


class Tokenizer:
    """Blinds index tokens. Both methods raise StorageFault when the secret cannot be read."""

    def __init__(self, *, secrets: Secrets) -> None:
        self._secrets = secrets

    def tokens(self, tenant: str, resource: Resource) -> frozenset[Token]:
        """Return the tokens that a resource is indexed by."""
        type = str(resource["resourceType"])
        clear = {token for parameter in PARAMETERS[type] for token in parameter.tokens(resource)}
        return frozenset(self.token(tenant, type, index, value) for index, value in clear)

    def token(self, tenant: str, type: str, index: str, value: str) -> Token:
        """Return the token of one value in an index of `parameters`."""
        return Token(index, self._secrets.blind(tenant, type, index, value))
