"""The main job with a SAML connection: the stories of the OpenID Connect connection, word for word, and their like."""

from __future__ import annotations

from tests.scenarios.test_main_job import (
    test_a_first_login_makes_the_user_and_lands_on_the_deep_link,
    test_a_returning_login_is_the_same_user_in_a_new_session,
    test_a_revocation_in_one_worker_stops_the_next_request_in_another_within_the_bound,
    test_forty_simultaneous_first_logins_make_one_user,
    test_logout_ends_both_sessions_and_asks_again,
    test_two_subjects_that_differ_by_case_or_trailing_space_are_two_people,
)

__all__ = [
    "test_a_first_login_makes_the_user_and_lands_on_the_deep_link",
    "test_a_returning_login_is_the_same_user_in_a_new_session",
    "test_a_revocation_in_one_worker_stops_the_next_request_in_another_within_the_bound",
    "test_forty_simultaneous_first_logins_make_one_user",
    "test_logout_ends_both_sessions_and_asks_again",
    "test_two_subjects_that_differ_by_case_or_trailing_space_are_two_people",
]
