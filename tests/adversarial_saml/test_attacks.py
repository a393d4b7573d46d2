"""Each attack is refused, under its own name, by the one class of error that says nothing outside."""

from __future__ import annotations

import pytest

from jit_middleware.errors import VerificationError
from jit_middleware.sso.saml.response import ResponseVerifier
from tests.adversarial_saml.attack import Attack
from tests.adversarial_saml.attacks_binding import BINDING
from tests.adversarial_saml.attacks_details import DETAILS
from tests.adversarial_saml.attacks_forgery import FORGERY, told
from tests.adversarial_saml.mint import expectations, minted, posted

ALL = [*BINDING, *FORGERY, *DETAILS]


@pytest.mark.parametrize("attack", [pytest.param(attack, id=attack.name) for attack in ALL])
def test_an_attack_is_refused_under_its_own_name(verifier: ResponseVerifier, attack: Attack) -> None:
    with pytest.raises(VerificationError) as caught:
        verifier.verify(attack.make(), expectations(**told(attack)))
    assert (type(caught.value), caught.value.reason) == (VerificationError, attack.reason)


def test_names_of_attacks_are_unique() -> None:
    assert len({attack.name for attack in ALL}) == len(ALL)


def test_the_message_the_attacks_start_from_is_accepted(verifier: ResponseVerifier) -> None:
    assert verifier.verify(posted(minted()), expectations()).name_id == "alice-7f3a"
