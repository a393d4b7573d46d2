"""What can go wrong, as one tree.

::

    JITError
     ├─ ConfigurationError      at start: every fault with its setting and the fix
     ├─ RequestError            a message to one of our own endpoints is malformed
     │   ├─ NothingHere         none of our own endpoints has this address
     │   ├─ LogoutUnconfirmed   the provider's answer to a logout is not the one to ours
     │   ├─ LogoutNotVerified   what the provider says about a logout does not verify
     │   └─ SignalRefused       what somebody pushes at us to end access is not acted on
     ├─ JudgedLater             the same, which cannot be verified just now
     ├─ LoginError              this person's attempt to log in failed
     │   ├─ VerificationError   what the identity provider said does not verify
     │   ├─ ProviderRefused     the identity provider itself answered with an error
     │   │   └─ ClientRefused       … about us: it does not accept our own credentials
     │   ├─ StepUpRefused       the login is not what the page asks for
     │   ├─ LoginOvertaken      the person was signed out while they were signing in
     │   ├─ InvitationUnusable  the invitation is not valid (any more)
     │   ├─ LinkRefused         a wrong password for an account to be linked
     │   ├─ LinkLimited         too many of them
     │   └─ NotProvisioned      verified, but this person gets no account or no access
     │       ├─ AccountPending      their own account waits for approval
     │       ├─ AccountSuspended    their own account is on hold
     │       ├─ AccountClosed       their own account was closed
     │       ├─ LinkRequired        an account may be theirs, and they have to prove it
     │       ├─ SeatsFull           there is no seat for another user
     │       └─ CreationLimited     too many users were created just now
     └─ AdapterError            something outside failed
         ├─ Conflict            a unique key is taken: the unit of work is run again
         ├─ ProviderUnavailable the identity provider cannot be reached, or talks nonsense
         ├─ Busy                this process has too much to do
         └─ StoreUnavailable    the database or user store cannot be reached or written

Each class carries a stable public ``code``, the HTTP ``status`` it deserves and one ``public`` sentence. The ``reason``
(a stable name, narrower than the code) and the message go to the log and the audit trail, never to the browser: every
refusal of one class looks the same from outside (no oracle, no user enumeration).
"""

from __future__ import annotations

import errno
import importlib
import os
import traceback
from collections.abc import Iterator, Sequence
from typing import ClassVar, Final, Self

from jit_middleware.records import dataclass

_PLACES: Final = 5


class JITError(Exception):
    """The root: carries what the browser may see and, apart from it, what the operator needs."""

    code: ClassVar[str] = "error"
    status: ClassVar[int] = 500
    public: ClassVar[str] = "Something went wrong."
    #: Seconds after which it may be worth another try (RFC 9110 §10.2.3).
    retry_after: ClassVar[int | None] = None

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason
        self.detail = detail

    def afresh(self) -> Self:
        """The same error as new, for whoever keeps one: without the places it passed, and the request they hold."""
        again = type(self).__new__(type(self), *self.args)
        again.__dict__.update(self.__dict__)
        return again


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with the configuration: which ``setting``, what is wrong, and the ``fix``."""

    setting: str
    problem: str
    fix: str

    def __str__(self) -> str:
        return f"{self.setting}: {self.problem} Fix: {self.fix}"


class ConfigurationError(JITError):
    """The middleware cannot start; ``faults`` lists everything that is wrong, all at once."""

    code = "configuration"
    public = "This application's sign-on is not configured correctly."

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        count = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        lines = "\n".join(f"  - {fault}" for fault in self.faults)
        super().__init__("configuration", f"{count} in the configuration:\n{lines}")


class RequestError(JITError):
    """A message to one of our endpoints is malformed; ``status`` may be narrowed per instance (405, 413, 415)."""

    code = "bad_request"
    status = 400
    public = "That request could not be understood."

    def __init__(
        self, reason: str, detail: str = "", *, status: int = 400, headers: Sequence[tuple[str, str]] = ()
    ) -> None:
        super().__init__(reason, detail)
        self.response_status = status
        self.headers = tuple(headers)


class NothingHere(RequestError):
    """An address below our prefix at which there is nothing: no such endpoint, or none for a connection of that
    name."""

    code = "not_found"
    status = 404
    public = "There is no page at this address. It may be misspelt, or out of date."

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail, status=self.status)


class LogoutUnconfirmed(RequestError):
    """The provider's answer to a logout carries another ``state`` than we sent (RP-Initiated Logout 1.0 §3)."""

    code = "logout_unconfirmed"
    public = "You are signed out here, but perhaps not at the identity provider: its answer does not match."


class LogoutNotVerified(RequestError):
    """A logout message of the identity provider does not verify (SAML Profiles §4.4); nobody is signed out by it."""

    code = "logout_not_verified"
    public = "The identity provider's message about signing out could not be verified, so nothing was changed."


class SignalRefused(RequestError):
    """A security event (RFC 8417) or a revocation that is not acted on: not verified, or about nobody here."""

    code = "signal_refused"
    public = "This message could not be verified or acted on, so nothing was changed."


class JudgedLater(JITError):
    """What was sent can only be judged by what may not be fetched just now: it is to be sent again (RFC 6585 §4)."""

    code = "judged_later"
    status = 429
    retry_after = 30
    public = "This message cannot be verified right now, so nothing was changed. Please send it again in a moment."


class LoginError(JITError):
    """This person's attempt to log in failed."""

    code = "login_failed"
    status = 403
    public = "You could not be signed in."


class LoginOvertaken(LoginError):
    """The person was signed out while this login was on its way: what the provider had said is not true any more.

    ``marked_at`` is when the sign-out arrived, in seconds.
    """

    code = "login_overtaken"
    public = "You were signed out while you were signing in. Please sign in again."

    def __init__(self, reason: str, detail: str = "", *, marked_at: int = 0) -> None:
        super().__init__(reason, detail)
        self.marked_at = marked_at


class VerificationError(LoginError):
    """The identity provider's message does not verify. One sentence for all of them: the reason is nobody's
    business."""

    code = "login_not_verified"
    status = 403
    public = "The answer of the identity provider could not be verified, so you were not signed in."


class StaleLogin(LoginError):
    """The login this answer belongs to is not known to this browser: too old, already used, or another browser's."""

    code = "login_expired"
    status = 400
    public = "This sign-in was started too long ago, was already used, or was started in another browser."


class ProviderRefused(LoginError):
    """The identity provider answered with an OAuth error (RFC 6749 §4.1.2.1) or a SAML status other than Success."""

    code = "provider_refused"
    status = 403
    public = "The identity provider did not sign you in."


class ClientRefused(ProviderRefused):
    """The identity provider does not accept this application's own credentials (RFC 6749 §5.2): nobody can sign in
    until an operator mends them."""


class StepUpRefused(LoginError):
    """The provider signed the person in, but not as strongly or as recently as the page asks (RFC 9470)."""

    code = "step_up_refused"
    status = 403
    public = (
        "The identity provider did not confirm your sign-in as strongly, or as recently, as this page needs. "
        "You are still signed in as before."
    )


class InvitationUnusable(LoginError):
    """The invitation was not made here, was used or revoked, or is too old: one sentence for all of them."""

    code = "invitation_unusable"
    status = 403
    public = "This invitation cannot be used, or not any more. Please ask for a new one."


class LinkRefused(LoginError):
    """The password that was to prove an account is not that account's; the page asks again."""

    code = "link_refused"
    public = "That is not the password of the account."


class LinkLimited(LoginError):
    """Too many wrong passwords for one account lately (RFC 6585 §4)."""

    code = "link_limited"
    status = 429
    retry_after = 1200
    public = "That was tried too often. Please wait twenty minutes and sign in again."


class NotProvisioned(LoginError):
    """The person is who they say, but gets no account or no access here. ``path`` is what was asked on the way."""

    code = "not_provisioned"
    status = 403
    public = "You are signed in at the identity provider, but you have no access to this application."

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.path: tuple[str, ...] = ()


class AccountPending(NotProvisioned):
    """The account that this very identity is linked to waits for approval."""

    code = "account_pending"
    public = "Your account for this application is waiting for approval. You can sign in as soon as it is approved."


class AccountSuspended(NotProvisioned):
    """The account that this very identity is linked to is on hold."""

    code = "account_suspended"
    public = "Your account for this application is suspended. Please ask whoever manages your access."


class AccountClosed(NotProvisioned):
    """The account that this very identity is linked to was deactivated or deleted."""

    code = "account_closed"
    public = "Your account for this application was closed. Please ask whoever manages your access."


class LinkRequired(NotProvisioned):
    """An account with the address that this person has proved may be theirs, and they have to prove that too.

    ``user_id`` is the account; ``has_password`` says that the person can prove it by the password they have there.
    """

    code = "link_required"
    public = (
        "There is an account here that may be yours, and it has to be linked before you can sign in this way. "
        "Please ask whoever manages your access, and tell them the reference."
    )

    def __init__(self, reason: str, detail: str = "", *, user_id: str, has_password: bool) -> None:
        super().__init__(reason, detail)
        self.user_id = user_id
        self.has_password = has_password


class SeatsFull(NotProvisioned):
    """Everybody who may have a seat has one. Says nothing about any one account."""

    code = "seats_full"
    public = "This application has no free seat for another user. Please ask whoever manages your access."


class CreationLimited(NotProvisioned):
    """More users than allowed were created just now (RFC 6585 §4). Says nothing about any one account."""

    code = "creation_limited"
    status = 429
    retry_after = 60
    public = "Too many new users are signing in for the first time right now. Please try again in a few minutes."


class AdapterError(JITError):
    """Something outside failed; nothing was changed here."""

    code = "unavailable"
    status = 503
    retry_after = 5
    public = "A service this application needs is not available right now. Please try again."


class Conflict(AdapterError):
    """A unique key is taken. ``reason`` names which: the unit of work is read afresh and run again, at most three
    times."""

    code = "conflict"
    status = 503


class ProviderUnavailable(AdapterError):
    """The identity provider cannot be reached in time, or answers with something that is not the protocol."""

    code = "provider_unavailable"
    status = 503
    public = "The identity provider cannot be reached right now. Please try again in a moment."


class Busy(AdapterError):
    """This process has too much to verify at once, or a verification took too long."""

    code = "busy"
    status = 503
    public = "Too many people are signing in right now. Please try again in a moment."


class StoreUnavailable(AdapterError):
    """The database or the user store cannot be reached, or cannot be written."""

    code = "store_unavailable"
    status = 503
    public = "This application's user database is not available right now. Please try again in a moment."


class SessionEnded(ConnectionResetError):
    """The session that an open connection stands on is over, and so is the connection.

    Not one of ours: what an application's ``send`` raises then, and the body of a WSGI response. An application that is
    ready for clients that leave is ready for this; a server breaks the response off, and says little about it.
    """

    def __init__(self) -> None:
        super().__init__(errno.ECONNRESET, "the session behind this connection has ended")


def whence(error: BaseException) -> str:
    """The kind of an error of the application's code, and the places it passed there: ``"KeyError (shop.py, line 7)"``.

    Its text is left out, since it may hold a password. So are our own places and those of the import machinery; none
    is left where what is named is not there, or not to be called like that.
    """
    not_theirs = ("<frozen ", *(os.path.join(os.path.dirname(each), "") for each in (__file__, importlib.__file__)))
    # A file that is no Python passes no place of its own, but knows it.
    last = [(error.filename, error.lineno)] if isinstance(error, SyntaxError) else []
    passed = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__)]
    theirs = [
        f"{os.path.basename(file)}, line {line}"
        for file, line in (*passed, *last)
        if file and not file.startswith(not_theirs)
    ]
    return type(error).__name__ + (f" ({' > '.join(theirs[-_PLACES:])})" if theirs else "")


def causes(error: BaseException) -> Iterator[str]:
    """Each error of the chain as its kind and the places it passed; our own errors also say why, being safe to read."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        kind = f"{type(link).__module__}.{type(link).__qualname__}"
        places = " > ".join(
            f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(link.__traceback__)
        )
        yield f"{kind}({link}) at {places}" if isinstance(link, JITError) else f"{kind} at {places}"
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)
