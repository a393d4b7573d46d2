"""Every name under which the OIDC room refuses; they go to log and audit and never change their meaning."""

# ruff: noqa: S105 (names of refusals, no secrets)
from __future__ import annotations

import enum
import re
from typing import Final

from jit_middleware.errors import ClientRefused, ProviderRefused

_SHOWABLE: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Reason(enum.StrEnum):
    """Why something the provider or the browser sent is not accepted."""

    # Discovery (OIDC Discovery §4.3)
    METADATA_UNAVAILABLE = "metadata_unavailable"  # the discovery document is not served (status other than 200)
    METADATA_NOT_JSON = "metadata_not_json"  # what is served there is not one strict JSON object
    METADATA_ISSUER_MISMATCH = "metadata_issuer_mismatch"  # it is the document of another issuer, or of none
    METADATA_MALFORMED = "metadata_malformed"  # a member that is needed is missing or of the wrong type
    METADATA_ENDPOINT_FORBIDDEN = "metadata_endpoint_forbidden"  # an endpoint is not a plain https URL

    # Keys (RFC 7517)
    KEYS_UNAVAILABLE = "keys_unavailable"  # the key set is not served (status other than 200)
    KEYS_MALFORMED = "keys_malformed"  # what is served there is not a key set
    KEYS_NOT_ASKED_FOR = "keys_not_asked_for"  # what is pushed needs a newer key set, and no fetch is due
    KEY_UNKNOWN = "key_unknown"  # no usable key of the provider fits the token, not even after asking again

    # The request (RFC 9126)
    PUSHED_REQUEST_FAILED = "pushed_request_failed"  # the provider's answer to the pushed request is not the protocol

    # The answer through the browser (RFC 6749 §4.1.2, RFC 9207)
    STATE_MISMATCH = "state_mismatch"  # the state is missing or belongs to another login
    RESPONSE_ISS_MISSING = "response_iss_missing"  # the provider promises the iss parameter, and it is not there
    RESPONSE_ISS_MISMATCH = "response_iss_mismatch"  # the answer comes from another provider (mix-up)
    CODE_MISSING = "code_missing"  # neither an error nor a code
    CODE_MALFORMED = "code_malformed"  # a code with characters or a length that no code has
    PROVIDER_ERROR = "provider_error"  # the provider refused with a code that cannot be shown

    # The token endpoint (RFC 6749 §5)
    CLIENT_AUTH_UNSUPPORTED = "client_auth_unsupported"  # no way to authenticate that both sides know
    TOKEN_ENDPOINT_FAILED = "token_endpoint_failed"  # a status that is neither success nor an OAuth error
    TOKEN_ANSWER_NOT_JSON = "token_answer_not_json"  # the answer is not one strict JSON object
    TOKEN_TYPE_UNSUPPORTED = "token_type_unsupported"  # the access token is not a Bearer token
    ACCESS_TOKEN_MALFORMED = "access_token_malformed"  # missing, or characters that no header can carry
    ID_TOKEN_MISSING = "id_token_missing"  # the answer holds no ID token

    # Any signed token (RFC 7515, RFC 8725)
    TOKEN_MALFORMED = "token_malformed"  # not a compact JWS of a strict JSON object
    TOKEN_TOO_LARGE = "token_too_large"  # more than 64 KiB, or 16 KiB for what is pushed at us
    ALGORITHM_NOT_ALLOWED = "algorithm_not_allowed"  # an algorithm outside the configured list, none and HMAC always
    TOKEN_TYPE_CONFUSED = "token_type_confused"  # a token of another kind than belongs here
    CRITICAL_HEADER = "critical_header"  # a header that changes how the token is to be read (crit, b64)
    KEY_IN_HEADER = "key_in_header"  # the token brings its own key or says where to get it (jwk, jku, x5c, x5u)
    SIGNATURE_INVALID = "signature_invalid"  # no key of the provider verifies it

    # Claims (OIDC Core §3.1.3.7)
    ISSUER_MISMATCH = "issuer_mismatch"  # iss is not exactly the configured issuer
    AUDIENCE_MISMATCH = "audience_mismatch"  # aud does not hold our client_id, or others beside it without azp
    AUTHORIZED_PARTY_MISMATCH = "authorized_party_mismatch"  # azp is another client
    SUBJECT_INVALID = "subject_invalid"  # sub is not 1 to 255 printable ASCII characters without blanks around
    NONCE_MISMATCH = "nonce_mismatch"  # nonce is missing or belongs to another login
    TOKEN_EXPIRED = "token_expired"  # exp has passed
    TOKEN_NOT_YET_VALID = "token_not_yet_valid"  # nbf or iat lies in the future
    TOKEN_TOO_OLD = "token_too_old"  # iat is older than a code may be
    CLAIM_MISSING = "claim_missing"  # a claim that must be there is not
    CLAIM_MALFORMED = "claim_malformed"  # a claim has the wrong type or an absurd value
    AT_HASH_MISMATCH = "at_hash_mismatch"  # at_hash is not that of the access token
    C_HASH_MISMATCH = "c_hash_mismatch"  # c_hash is not that of the code
    LOGIN_TOO_OLD = "login_too_old"  # the person signed in longer ago than max_age allows
    ACR_INSUFFICIENT = "acr_insufficient"  # the login is of none of the requested classes
    SESSION_ENDED = "session_ended"  # session_expiry has passed

    # What is pushed at us (OIDC Back-Channel Logout §2.6, RFC 8417, SSF 1.0)
    EVENT_MISMATCH = "event_mismatch"  # events is not there, or does not hold exactly what belongs into this token
    CLAIM_FORBIDDEN = "claim_forbidden"  # a claim that this kind of token never has: nonce, or exp and sub
    SUBJECT_IDENTIFIER_UNSUPPORTED = "subject_identifier_unsupported"  # a format that names nobody here (RFC 9493)

    # Userinfo (OIDC Core §5.3)
    USERINFO_UNSUPPORTED = "userinfo_unsupported"  # userinfo is always to be asked, and the provider has none
    USERINFO_UNAVAILABLE = "userinfo_unavailable"  # the endpoint answered with a status other than 200
    USERINFO_MALFORMED = "userinfo_malformed"  # the answer is not one strict JSON object
    USERINFO_SUBJECT_MISMATCH = "userinfo_subject_mismatch"  # claims about somebody else


def refused(code: object, *, client: str = "") -> ProviderRefused:
    """The provider's own refusal, under its OAuth error code (RFC 6749 §4.1.2.1, §5.2) if that is fit to be logged.

    ``client`` names the settings by which we have authenticated, where we have: what it refuses may be these.
    """
    if client and code == "invalid_client":
        return ClientRefused("invalid_client", f"the provider does not accept {client}")
    showable = isinstance(code, str) and _SHOWABLE.fullmatch(code)
    return ProviderRefused(str(code) if showable else Reason.PROVIDER_ERROR)
