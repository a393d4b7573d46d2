"""Which attack is tested where, for each protocol: the rows of our catalogue that are about people and their accounts.

A place is ``module:function``, or ``module:function[case]`` for one row of a table of attacks, below ``tests``. A text
that begins with ``-`` says in a line why a row does not apply to a protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

HOSTILE: Final = "adversarial.test_hostile:test_hostile_provider"
TAKEOVER: Final = "adversarial.test_takeover"
NAMES: Final = "adversarial.test_names_and_addresses"
SAML_DOOR: Final = "adversarial_saml.test_through_both_edges:test_an_attack_signs_nobody_in"
SAML_PEOPLE: Final = "adversarial_saml.test_people"
LINKING: Final = "scenarios.test_linking"
PREPARED: Final = "scenarios.test_prepared_accounts"
LIFECYCLE: Final = "scenarios.test_lifecycle"
RACES: Final = "scenarios.test_policy_races"
SAML: Final = "scenarios_saml.test_policy"
SAML_LINKING: Final = "scenarios_saml.test_linking"
POLICY: Final = "unit.settings.test_policy"


@dataclass(frozen=True, slots=True)
class Row:
    """One attack by its name, and where it is tried."""

    name: str
    oidc: tuple[str, ...]
    saml: tuple[str, ...]


def _row(name: str, oidc: str | tuple[str, ...], saml: str | tuple[str, ...]) -> Row:
    return Row(name, (oidc,) if isinstance(oidc, str) else oidc, (saml,) if isinstance(saml, str) else saml)


ROWS: Final[dict[int, Row]] = {
    1: _row(
        "nOAuth: the address as a key",
        f"{TAKEOVER}:test_same_address_at_another_subject_is_another_person",
        f"{SAML_PEOPLE}:test_same_address_at_another_name_id_is_another_person",
    ),
    2: _row(
        "mutable claim as the subject",
        (f"{TAKEOVER}:test_username_of_another_person_is_no_way_in", f"{LINKING}:test_same_address_at_a_new_subject_is_a_new_account"),
        ("scenarios_saml.test_saml:test_a_transient_subject_is_refused_at_start", f"{SAML}:test_same_address_at_a_new_subject_is_a_new_account"),
    ),
    3: _row(
        "link by an address that is not verified for true",
        (f"{LINKING}:test_email_that_is_not_verified_for_true_links_nothing", f"{LINKING}:test_provider_that_says_nothing_of_verification_links_nothing"),
        f"{SAML_PEOPLE}:test_address_of_a_domain_that_nobody_gave_the_provider_is_not_vouched_for",
    ),
    4: _row(
        "link by address though the account has another subject",
        f"{LINKING}:test_email_of_an_account_with_another_subject_is_refused",
        f"{SAML}:test_email_of_an_account_with_another_subject_is_refused",
    ),
    5: _row(
        "association by address that nobody enabled",
        (f"{LINKING}:test_email_links_nothing_where_it_is_not_enabled", "scenarios.test_outside_races:test_a_store_that_gives_somebodys_user_to_a_new_identity_hands_nobody_over"),
        (f"{SAML}:test_email_links_nothing_where_it_is_not_enabled", f"{SAML}:test_a_store_that_gives_somebodys_user_to_a_new_identity_hands_nobody_over"),
    ),
    6: _row(
        "pre-hijacking: classic-federated merge",
        f"{LINKING}:test_classic_federated_merge_needs_the_password",
        f"{SAML_LINKING}:test_password_links_the_account_across_two_posts_of_the_provider",
    ),
    7: _row(
        "pre-hijacking: unexpired session",
        (f"{LINKING}:test_unexpired_session_of_before_ends_with_the_link", f"{PREPARED}:test_session_of_before_ends_when_the_account_is_linked_by_its_address"),
        f"{SAML}:test_session_of_before_ends_when_the_account_is_linked_by_its_address",
    ),
    8: _row(
        "pre-hijacking: trojan identifier",
        f"{PREPARED}:test_account_that_has_somebody_elses_identity_is_not_taken_for_ones_own",
        f"{SAML}:test_account_that_has_somebody_elses_identity_is_not_taken_for_ones_own",
    ),
    9: _row(
        "pre-hijacking: unexpired change of address, reset link, API token",
        (f"{LINKING}:test_old_credentials_are_gone_after_the_link", f"{PREPARED}:test_other_ways_into_the_account_are_shut_before_it_is_handed_over"),
        f"{SAML}:test_other_ways_into_the_account_are_shut_before_it_is_handed_over",
    ),
    10: _row(
        "pre-hijacking: provider that does not verify addresses",
        f"{LINKING}:test_provider_that_says_nothing_of_verification_links_nothing",
        "scenarios_saml.test_saml:test_an_existing_account_is_adopted_only_by_an_address_of_the_providers_domain",
    ),
    11: _row(
        "local account with the victim's unverified address",
        (f"{LINKING}:test_unverified_address_of_a_local_account_draws_nobody_in", f"{LINKING}:test_squatter_does_not_stand_between_a_person_and_their_account"),
        f"{SAML}:test_unverified_address_of_a_local_account_draws_nobody_in",
    ),
    12: _row(
        "another tenant's provider asserts a person",
        (f"{LINKING}:test_account_of_another_tenant_is_out_of_reach", f"{LINKING}:test_address_of_a_foreign_domain_matches_nobody"),
        (f"{SAML}:test_account_of_another_tenant_is_out_of_reach", f"{SAML}:test_address_of_a_foreign_domain_matches_nobody"),
    ),
    13: _row(
        "link proof that is not bound to identity and browser",
        (f"{LINKING}:test_link_proof_counts_only_for_the_identity_that_was_confirmed", f"{LINKING}:test_link_form_of_one_browser_is_worth_nothing_in_another"),
        "- the proof is judged after the protocol is done with; its way across a POST is in scenarios_saml.test_linking",
    ),
    14: _row(
        "account switch by the code of another session",
        ("adversarial.test_browser_side:test_callback_without_the_cookie_of_its_login_signs_nobody_in", f"{LINKING}:test_linked_identity_does_not_change_accounts_by_an_invitation"),
        "scenarios_saml.test_saml:test_another_persons_response_does_not_answer_this_browsers_request",
    ),
    15: _row(
        "issuer confusion",
        (f"{HOSTILE}[iss-with-slash]", f"{HOSTILE}[iss-upper-case]"),
        f"{SAML_DOOR}[Issuer empty]",
    ),
    16: _row(
        "recycled subject or domain",
        (f"{LINKING}:test_same_address_at_a_new_subject_is_a_new_account", f"{TAKEOVER}:test_tombstoned_identity_gets_no_second_life"),
        (f"{SAML}:test_same_address_at_a_new_subject_is_a_new_account", f"{SAML}:test_erased_person_is_nobody_and_stays_out"),
    ),
    17: _row(
        "subjects that a collation takes for one",
        (f"{TAKEOVER}:test_subjects_are_compared_byte_for_byte", "scenarios.test_main_job:test_two_subjects_that_differ_by_case_or_trailing_space_are_two_people", "contract.test_schema:test_a_forgiving_collation_is_refused_at_start"),
        (f"{SAML_PEOPLE}:test_name_ids_are_compared_byte_for_byte", "scenarios_saml.test_main_job:test_two_subjects_that_differ_by_case_or_trailing_space_are_two_people"),
    ),
    18: _row(
        "Unicode case mapping of an address",
        (f"{NAMES}:test_an_address_that_a_mapping_takes_for_another_links_nothing", f"{LINKING}:test_unicode_case_mapping_of_an_address_matches_nobody"),
        (f"{SAML_PEOPLE}:test_address_that_a_mapping_takes_for_another_links_nothing", f"{SAML}:test_unicode_case_mapping_of_an_address_matches_nobody"),
    ),
    19: _row(
        "usernames that are canonically somebody else's",
        (f"{NAMES}:test_a_username_that_a_mapping_takes_for_another_is_another_or_none", "property.test_provisioning_text:test_the_form_of_a_form_is_itself"),
        f"{SAML_PEOPLE}:test_name_ids_are_compared_byte_for_byte",
    ),
    20: _row(
        "domain by suffix, or by the last @",
        (f"{NAMES}:test_what_only_looks_like_an_address_of_the_domain_does_not_enter", "property.test_provisioning_text:test_whoever_passes_the_gate_has_exactly_the_domain"),
        f"{SAML_PEOPLE}:test_what_only_looks_like_an_address_of_the_domain_does_not_enter",
    ),
    21: _row(
        "blank subject",
        (f"{HOSTILE}[sub-empty]", f"{HOSTILE}[sub-blank]", f"{HOSTILE}[sub-null]", f"{HOSTILE}[sub-zero]"),
        f"{SAML_PEOPLE}:test_blank_name_id_is_nobody",
    ),
    22: _row(
        "a foreign id taken for an internal one",
        "- no message of a provider names a user by our id: ids are random and made here",
        "- no message of a provider names a user by our id: ids are random and made here",
    ),
    23: _row(
        "first-login race",
        ("scenarios.test_main_job:test_forty_simultaneous_first_logins_make_one_user", "scenarios.test_custom_stores:test_forty_simultaneous_first_logins_make_one_member", "scenarios.test_linking_races:test_forty_logins_of_one_identity_make_one_link", "scenarios.test_outside_races:test_who_is_just_being_made_is_not_mistaken_for_an_account_to_link"),
        "scenarios_saml.test_main_job:test_forty_simultaneous_first_logins_make_one_user",
    ),
    53: _row(
        "session fixation",
        ("adversarial.test_browser_sessions:test_session_id_is_new_at_every_login_and_the_old_one_is_worthless", "adversarial.test_browser_sessions:test_planted_session_of_the_attacker_does_not_become_that_of_the_victim", f"{PREPARED}:test_session_of_before_does_not_rise_with_its_owner"),
        f"{SAML_PEOPLE}:test_session_of_before_is_not_that_of_the_login",
    ),
    57: _row(
        "claim injection into roles",
        (f"{TAKEOVER}:test_no_shape_of_groups_but_the_exact_name_in_a_list_grants_a_role", "adversarial.test_claims:test_a_group_map_takes_the_exact_id_of_a_group_and_nothing_like_it"),
        f"{SAML_PEOPLE}:test_no_value_but_the_exact_name_grants_a_role",
    ),
    58: _row(
        "administrator by default",
        (f"{POLICY}:test_a_privileged_role_is_nobodys_by_birth", f"{POLICY}:test_a_privileged_role_needs_a_connection_that_may_grant_it", "scenarios.test_policies:test_names_of_roles_come_from_claims_only_when_the_catalogue_has_them"),
        f"{SAML}:test_names_of_roles_come_from_claims_only_when_the_catalogue_has_them",
    ),
    59: _row(
        "privilege that outlives its group",
        (f"{TAKEOVER}:test_role_goes_with_its_group", "scenarios.test_policies:test_a_login_takes_what_the_sync_says_and_no_more", "scenarios.test_outside_races:test_role_that_is_taken_away_while_its_holder_signs_in_does_not_come_back"),
        f"{SAML_PEOPLE}:test_role_goes_with_its_group_in_every_live_session",
    ),
    60: _row(
        "mass provisioning, seat exhaustion",
        (f"{RACES}:test_new_people_at_once_take_exactly_the_seats_there_are", f"{LIFECYCLE}:test_more_new_people_than_the_rate_allows_are_asked_to_come_back", "scenarios.test_outside_races:test_whoever_is_refused_for_their_name_holds_no_seat"),
        (f"{SAML}:test_last_seat_is_taken_once_and_freed_by_letting_somebody_go", f"{SAML}:test_more_new_people_than_the_rate_allows_are_asked_to_come_back"),
    ),
    61: _row(
        "resurrection at login",
        (f"{TAKEOVER}:test_person_who_was_let_go_is_not_let_in_again_by_signing_in", f"{LIFECYCLE}:test_who_is_shut_out_is_out_within_the_bound_and_not_let_in_by_signing_in", "scenarios.test_outside_races:test_account_that_is_shut_while_its_holder_signs_in_stays_shut"),
        f"{SAML}:test_who_is_shut_out_is_out_within_the_bound_and_not_let_in_by_signing_in",
    ),
    66: _row(
        "log injection",
        (f"{TAKEOVER}:test_names_forge_no_line_and_reach_the_app_without_controls", f"{HOSTILE}[sub-line-break]"),
        f"{SAML_PEOPLE}:test_names_forge_no_line_and_reach_the_app_without_controls",
    ),
    67: _row(
        "claim bombs",
        "adversarial.test_claims:test_claim_bombs_are_refused_by_name_before_anything_is_made_of_them",
        (f"{SAML_PEOPLE}:test_claim_bombs_are_refused_by_name", "adversarial_saml.test_resources:test_a_costly_message_is_refused_at_once"),
    ),
    68: _row(
        "accounts told apart by refusals",
        (f"{TAKEOVER}:test_every_refusal_of_a_class_takes_the_same_words", f"{LIFECYCLE}:test_nobody_learns_the_state_of_an_account_that_is_not_theirs"),
        (f"{SAML_PEOPLE}:test_refusals_of_one_class_take_the_same_words", f"{SAML}:test_nobody_learns_the_state_of_an_account_that_is_not_theirs"),
    ),
    69: _row(
        "roles remembered after they were lost",
        (f"{LIFECYCLE}:test_lost_role_is_lost_to_the_live_session_within_the_bound", "scenarios.test_stories:test_a_role_that_is_gone_is_gone_in_sessions_that_live"),
        (f"{SAML}:test_lost_role_is_lost_to_the_live_session_within_the_bound", "scenarios_saml.test_stories:test_a_role_that_is_gone_is_gone_in_sessions_that_live"),
    ),
}  # fmt: skip
