"""Every name under which the SAML room refuses a message; they go to log and audit and never change their meaning.

From outside all of them look the same: what failed to decrypt and what failed to verify must not be told apart.
"""

from __future__ import annotations

import enum


class Reason(enum.StrEnum):
    """Why something the identity provider or the browser sent is not accepted."""

    # The message as it comes (SAML Bindings §3.4.4, §3.5.4)
    MESSAGE_TOO_LARGE = "message_too_large"  # more than 256 KiB, or a deflated message of more than 64 KiB
    MESSAGE_MISSING = "message_missing"  # nothing where a message belongs
    BASE64_MALFORMED = "base64_malformed"  # not strict base64
    DEFLATE_MALFORMED = "deflate_malformed"  # not one complete DEFLATE stream
    QUERY_MALFORMED = "query_malformed"  # a parameter twice, an encoded name, or both kinds of message
    ENCODING_NOT_UTF8 = "encoding_not_utf8"  # not UTF-8, or declared as something else
    MARKUP_FORBIDDEN = "markup_forbidden"  # a DTD, comment, CDATA section or processing instruction
    XML_MALFORMED = "xml_malformed"  # not well-formed XML
    XML_TOO_COMPLEX = "xml_too_complex"  # more elements or namespace prefixes than any real message has
    NAMESPACE_RELATIVE = "namespace_relative"  # a namespace name that is no absolute URI
    NOT_A_RESPONSE = "not_a_response"  # the root is no samlp:Response

    # Its shape (SAML Core §5.4)
    ELEMENT_NOT_ALLOWED = "element_not_allowed"  # an element where none of its kind belongs
    ATTRIBUTE_NOT_ALLOWED = "attribute_not_allowed"  # an XML attribute that does not belong on its element
    TEXT_NOT_ALLOWED = "text_not_allowed"  # text between elements
    ASSERTION_COUNT = "assertion_count"  # not exactly one assertion, plain or encrypted
    ID_MALFORMED = "id_malformed"  # an ID is missing or is no XML name
    ID_DUPLICATE = "id_duplicate"  # two elements with one ID
    SCHEMA_INVALID = "schema_invalid"  # not what the schema of SAML 2.0 describes

    # Its signature (SAML Core §5.4, XML Signature)
    SIGNATURE_MISSING = "signature_missing"  # no signature covers the assertion, or the message where one must
    SIGNATURE_MALFORMED = "signature_malformed"  # a signature of another shape than SAML prescribes
    SIGNATURE_REFERENCE = "signature_reference"  # not one reference to the very element that holds the signature
    SIGNATURE_TRANSFORM = "signature_transform"  # other transforms than enveloped-signature and exclusive c14n
    SIGNATURE_ALGORITHM = "signature_algorithm"  # an algorithm outside the list: SHA-1, MD5, RIPEMD, HMAC, DSA
    DIGEST_MISMATCH = "digest_mismatch"  # the signed element was changed
    SIGNATURE_INVALID = "signature_invalid"  # no configured certificate verifies it
    CERTIFICATE_UNUSABLE = "certificate_unusable"  # none of the configured certificates is strong enough and readable
    VERIFIERS_DISAGREE = "verifiers_disagree"  # our verifier accepts, python3-saml with libxmlsec does not

    # Encryption (XML Encryption 1.1)
    ENCRYPTION_NOT_EXPECTED = "encryption_not_expected"  # encrypted, and no decryption key is configured
    ENCRYPTION_SHAPE = "encryption_shape"  # anything but one key and one value, both inline
    ENCRYPTION_ALGORITHM = "encryption_algorithm"  # other than AES-GCM with RSA-OAEP, or CBC in an unsigned Response
    DECRYPTION_FAILED = "decryption_failed"  # no key of ours opens it, or what comes out is no assertion

    # The response (SAML Core §3.2.2, SAML Profiles §4.1.4)
    STATUS_NOT_SUCCESS = "status_not_success"  # the identity provider says no
    STATUS_MALFORMED = "status_malformed"  # no status code, or an empty one
    VERSION_UNSUPPORTED = "version_unsupported"  # not SAML 2.0
    IN_RESPONSE_TO_MISSING = "in_response_to_missing"  # it does not say which request it answers
    IN_RESPONSE_TO_MISMATCH = "in_response_to_mismatch"  # it answers another request
    UNSOLICITED_ANSWERS_REQUEST = "unsolicited_answers_request"  # it answers a request where none was made
    DESTINATION_MISMATCH = "destination_mismatch"  # Destination is missing or is not our ACS URL
    ISSUER_MISMATCH = "issuer_mismatch"  # not the configured identity provider
    ISSUER_MALFORMED = "issuer_malformed"  # an Issuer of another format than entity, or with qualifiers
    TIME_MALFORMED = "time_malformed"  # a time that is missing, not in UTC or no time at all
    ISSUED_IN_FUTURE = "issued_in_future"  # IssueInstant or AuthnInstant lies in the future
    ISSUED_TOO_LONG_AGO = "issued_too_long_ago"  # IssueInstant is older than an assertion may be

    # The assertion (SAML Core §2, SAML Profiles §4.1.4.2)
    SUBJECT_MISSING = "subject_missing"  # no Subject, or not exactly one name in it
    CONFIRMATION_MISSING = "confirmation_missing"  # no bearer SubjectConfirmation with data
    RECIPIENT_MISMATCH = "recipient_mismatch"  # Recipient is missing or is not our ACS URL
    CONFIRMATION_EXPIRED = "confirmation_expired"  # its NotOnOrAfter has passed
    CONFIRMATION_WITHOUT_END = "confirmation_without_end"  # it has no NotOnOrAfter
    CONFIRMATION_NOT_BEFORE = "confirmation_not_before"  # it has a NotBefore, which a bearer confirmation never has
    LIFETIME_TOO_LONG = "lifetime_too_long"  # valid for more than a day
    CONDITIONS_MISSING = "conditions_missing"  # no Conditions, or several
    CONDITIONS_EXPIRED = "conditions_expired"  # their NotOnOrAfter has passed
    CONDITIONS_NOT_YET_VALID = "conditions_not_yet_valid"  # their NotBefore lies ahead
    AUDIENCE_MISSING = "audience_missing"  # no AudienceRestriction
    AUDIENCE_MISMATCH = "audience_mismatch"  # one of them does not name us
    AUTHN_STATEMENT_COUNT = "authn_statement_count"  # not exactly one AuthnStatement
    AUTHN_CONTEXT_MISMATCH = "authn_context_mismatch"  # signed in by none of the requested contexts
    SESSION_ENDED = "session_ended"  # SessionNotOnOrAfter has passed
    SESSION_INDEX_MALFORMED = "session_index_malformed"  # a SessionIndex too long or with characters none has
    NAME_ID_MALFORMED = "name_id_malformed"  # blank, too long, or with invisible characters
    NAME_ID_FORMAT = "name_id_format"  # a Format that does not name a person
    NAME_ID_QUALIFIER = "name_id_qualifier"  # a name for another service, or from another provider
    ATTRIBUTE_MALFORMED = "attribute_malformed"  # an attribute without a name
    ATTRIBUTE_DUPLICATE = "attribute_duplicate"  # attributes that share a Name or a FriendlyName, and are not one
