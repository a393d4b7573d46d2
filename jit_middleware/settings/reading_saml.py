"""From what the sources say about a SAML provider to a connection."""

from __future__ import annotations

from jit_middleware.settings import saml_table as st
from jit_middleware.settings import table as t
from jit_middleware.settings.connections import ClaimMapping
from jit_middleware.settings.policy import ProvisioningSettings
from jit_middleware.settings.reading import Reading
from jit_middleware.settings.reading_signals import read_signals
from jit_middleware.settings.saml import NameIDFormat, SAMLConnection, Subject
from jit_middleware.settings.setting import Path


def saml_connection(
    reading: Reading,
    name: str,
    *,
    claims: ClaimMapping,
    provisioning: ProvisioningSettings,
    label: str,
    clock_skew: int,
) -> SAMLConnection | None:
    """The connection, or ``None`` when it cannot be made; what is wrong is noted."""
    under = ("connections", name)
    idp_metadata, idp_entity_id = (
        reading.take(st.IDP_METADATA, under=under),
        reading.take(st.IDP_ENTITY_ID, under=under),
    )
    metadata_certificates = reading.take(st.METADATA_CERT, under=under)
    sp_entity_id = reading.take(st.SP_ENTITY_ID, under=under)
    sp_keys, sp_certificates = reading.take(st.SP_KEY, under=under), reading.take(st.SP_CERT, under=under)
    subject, name_id_format = reading.take(st.SUBJECT, under=under), reading.take(st.NAME_ID_FORMAT, under=under)
    binding = reading.take(st.BINDING, under=under)
    sign_requests, sign_metadata = (
        reading.take(st.SIGN_REQUESTS, under=under),
        reading.take(st.SIGN_METADATA, under=under),
    )
    metadata_valid_for = reading.take(st.METADATA_VALID_FOR, under=under)
    force_authn, is_passive = reading.take(st.FORCE_AUTHN, under=under), reading.take(st.IS_PASSIVE, under=under)
    authn_contexts = reading.take(st.AUTHN_CONTEXTS, under=under)
    allow_idp_initiated = reading.take(st.ALLOW_IDP_INITIATED, under=under)
    preset = reading.take(st.PRESET, under=under)
    tenant, domains = reading.take(t.TENANT, under=under), reading.take(t.VERIFIED_DOMAINS, under=under)
    signals = read_signals(reading, under, own_issuer=None)

    _judge_keys(reading, under)
    _judge_name_id(reading, under, subject, name_id_format)
    if idp_metadata is None:
        return None
    return SAMLConnection(
        name=name,
        idp_metadata=idp_metadata,
        idp_entity_id=idp_entity_id,
        metadata_certificates=metadata_certificates,
        sp_entity_id=sp_entity_id,
        sp_keys=sp_keys,
        sp_certificates=sp_certificates,
        subject=subject,
        name_id_format=name_id_format or _needed_format(subject),
        binding=binding,
        sign_requests=sign_requests,
        sign_metadata=sign_metadata,
        metadata_valid_for=metadata_valid_for,
        force_authn=force_authn,
        is_passive=is_passive,
        authn_contexts=authn_contexts,
        allow_idp_initiated=allow_idp_initiated,
        preset=preset,
        label=label,
        tenant=tenant,
        clock_skew=clock_skew,
        verified_domains=domains,
        claims=claims,
        provisioning=provisioning,
        signals=signals,
    )


def _needed_format(subject: Subject) -> NameIDFormat:
    return "none" if subject.kind == "attribute" else subject.kind


def _judge_keys(reading: Reading, under: Path) -> None:
    has_key, has_certificate = reading.has(st.SP_KEY, under=under), reading.has(st.SP_CERT, under=under)
    if has_key and not has_certificate:
        fix = "give the certificate of the key; the provider checks our signatures with it."
        reading.note(reading.name(st.SP_CERT, under=under), "it is missing, and the key needs it.", fix)
    if has_certificate and not has_key:
        reading.note(
            reading.name(st.SP_KEY, under=under),
            "it is missing, and the certificate needs it.",
            "give the private key.",
        )
    for setting in (st.SIGN_REQUESTS, st.SIGN_METADATA):
        if reading.take(setting, under=under) and not has_key:
            problem = f"it is missing, and {reading.name(setting, under=under)} needs it."
            reading.note(reading.name(st.SP_KEY, under=under), problem, "give a private key, or switch that off.")


def _judge_name_id(reading: Reading, under: Path, subject: Subject, asked: NameIDFormat | None) -> None:
    if subject.kind == "attribute" or asked in {None, "none", subject.kind}:
        return
    problem = f"a NameID of format {asked} is asked for, but {subject.kind} is what names a person."
    fix = "remove it, or make both the same; with a transient NameID an attribute has to name the person."
    reading.note(reading.name(st.NAME_ID_FORMAT, under=under), problem, fix)
