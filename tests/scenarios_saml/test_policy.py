"""Provisioning as policy with a SAML connection: the stories of ``tests.scenarios``, word for word.

Left out are those that name the OpenID connection, and those of linking that need a provider which vouches for an
address itself: what SAML has instead is in ``test_saml.py`` and ``test_linking.py``.
"""

from __future__ import annotations

from tests.scenarios.test_lifecycle import (
    operator,
    test_dormant_person_wakes_by_signing_in,
    test_erased_person_is_nobody_and_stays_out,
    test_hold_outlives_being_let_go_and_taken_back,
    test_last_seat_is_taken_once_and_freed_by_letting_somebody_go,
    test_lost_role_is_lost_to_the_live_session_within_the_bound,
    test_more_new_people_than_the_rate_allows_are_asked_to_come_back,
    test_new_person_waits_is_approved_and_comes_in,
    test_nobody_learns_the_state_of_an_account_that_is_not_theirs,
    test_person_without_a_seat_has_the_minimal_role_until_one_is_free,
    test_person_without_a_seat_waits_and_is_approved_when_one_is_free,
    test_privileged_roles_do_not_come_back_with_the_person,
    test_role_by_hand_survives_the_next_login,
    test_who_is_shut_out_is_out_within_the_bound_and_not_let_in_by_signing_in,
)
from tests.scenarios.test_linking import (
    test_account_of_another_tenant_is_out_of_reach,
    test_account_that_is_shut_gets_no_fresh_one_beside_it,
    test_address_of_a_foreign_domain_matches_nobody,
    test_administrator_is_not_adopted_even_by_password,
    test_email_links_nothing_where_it_is_not_enabled,
    test_email_of_an_account_with_another_subject_is_refused,
    test_same_address_at_a_new_subject_is_a_new_account,
    test_several_accounts_with_one_address_are_nobodys,
    test_subjects_that_a_collation_makes_one_are_two,
    test_unicode_case_mapping_of_an_address_matches_nobody,
    test_unverified_address_of_a_local_account_draws_nobody_in,
)
from tests.scenarios.test_outside_races import (
    test_a_crash_while_somebody_was_made_locks_nobody_out_of_what_is_theirs,
    test_a_store_that_gives_somebodys_user_to_a_new_identity_hands_nobody_over,
    test_whoever_is_refused_for_their_name_holds_no_seat,
)
from tests.scenarios.test_policies import (
    test_each_field_is_written_by_whoever_owns_it,
    test_names_of_roles_come_from_claims_only_when_the_catalogue_has_them,
)
from tests.scenarios.test_prepared_accounts import (
    test_account_that_has_somebody_elses_identity_is_not_taken_for_ones_own,
    test_other_ways_into_the_account_are_shut_before_it_is_handed_over,
    test_session_of_before_ends_when_the_account_is_linked_by_its_address,
)

__all__ = [
    "operator",
    "test_a_crash_while_somebody_was_made_locks_nobody_out_of_what_is_theirs",
    "test_a_store_that_gives_somebodys_user_to_a_new_identity_hands_nobody_over",
    "test_account_of_another_tenant_is_out_of_reach",
    "test_account_that_has_somebody_elses_identity_is_not_taken_for_ones_own",
    "test_account_that_is_shut_gets_no_fresh_one_beside_it",
    "test_address_of_a_foreign_domain_matches_nobody",
    "test_administrator_is_not_adopted_even_by_password",
    "test_dormant_person_wakes_by_signing_in",
    "test_each_field_is_written_by_whoever_owns_it",
    "test_email_links_nothing_where_it_is_not_enabled",
    "test_email_of_an_account_with_another_subject_is_refused",
    "test_erased_person_is_nobody_and_stays_out",
    "test_hold_outlives_being_let_go_and_taken_back",
    "test_last_seat_is_taken_once_and_freed_by_letting_somebody_go",
    "test_lost_role_is_lost_to_the_live_session_within_the_bound",
    "test_more_new_people_than_the_rate_allows_are_asked_to_come_back",
    "test_names_of_roles_come_from_claims_only_when_the_catalogue_has_them",
    "test_new_person_waits_is_approved_and_comes_in",
    "test_nobody_learns_the_state_of_an_account_that_is_not_theirs",
    "test_other_ways_into_the_account_are_shut_before_it_is_handed_over",
    "test_person_without_a_seat_has_the_minimal_role_until_one_is_free",
    "test_person_without_a_seat_waits_and_is_approved_when_one_is_free",
    "test_privileged_roles_do_not_come_back_with_the_person",
    "test_role_by_hand_survives_the_next_login",
    "test_same_address_at_a_new_subject_is_a_new_account",
    "test_session_of_before_ends_when_the_account_is_linked_by_its_address",
    "test_several_accounts_with_one_address_are_nobodys",
    "test_subjects_that_a_collation_makes_one_are_two",
    "test_unicode_case_mapping_of_an_address_matches_nobody",
    "test_unverified_address_of_a_local_account_draws_nobody_in",
    "test_who_is_shut_out_is_out_within_the_bound_and_not_let_in_by_signing_in",
    "test_whoever_is_refused_for_their_name_holds_no_seat",
]
