"""From what the sources say about pushed signals to the settings of one connection."""

from __future__ import annotations

from jit_middleware.settings import signals_table as st
from jit_middleware.settings.connections import reached_in_the_clear
from jit_middleware.settings.reading import Reading
from jit_middleware.settings.setting import Path
from jit_middleware.settings.signals import SignalsSettings, keys_in_the_clear


def read_signals(reading: Reading, under: Path, *, own_issuer: str | None) -> SignalsSettings:
    """Whom the connection below ``under`` believes; what is wrong is noted.

    ``own_issuer`` is the OpenID issuer of the connection, whose keys we know, ``None`` for SAML.
    """
    signals = SignalsSettings(
        issuer=reading.take(st.SIGNALS_ISSUER, under=under),
        audience=reading.take(st.SIGNALS_AUDIENCE, under=under),
        jwks_uri=reading.take(st.SIGNALS_JWKS_URI, under=under),
        token=reading.take(st.SIGNALS_TOKEN, under=under),
        ends_on_credential_change=reading.take(st.SIGNALS_CREDENTIAL_CHANGE, under=under),
    )
    if not reading.has(st.SIGNALS_ISSUER, under=under):
        for setting in st.SETTINGS[1:]:
            if reading.has(setting, under=under):
                problem = f"it is missing, and {reading.name(setting, under=under)} needs it."
                reading.note(
                    reading.name(st.SIGNALS_ISSUER, under=under), problem, "name the sender, or remove the other."
                )
    elif signals.issuer not in {None, own_issuer} and not reading.has(st.SIGNALS_JWKS_URI, under=under):
        problem = "it is missing: only the OpenID issuer's own keys are known without it."
        reading.note(reading.name(st.SIGNALS_JWKS_URI, under=under), problem, "give the URL of the sender's keys.")
    if signals.issuer is not None and reached_in_the_clear(signals.issuer):
        name = reading.name(st.SIGNALS_ISSUER, under=under)
        reading.note(name, "http is for loopback only.", "write https://.")
    if keys_in_the_clear(signals):
        name = reading.name(st.SIGNALS_JWKS_URI, under=under)
        reading.note(name, "http is for loopback only: anybody on the way could end sessions.", "write https://.")
    return signals
