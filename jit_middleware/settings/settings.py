"""All settings of one middleware, read and judged as a whole: it starts with every fault listed, or with none."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import field, replace

from jit_middleware.errors import ConfigurationError
from jit_middleware.http.paths import Access, PathPolicy
from jit_middleware.http.proxies import TrustedProxies
from jit_middleware.records import dataclass
from jit_middleware.settings import saml_table
from jit_middleware.settings import table as t
from jit_middleware.settings.connections import reached_in_the_clear
from jit_middleware.settings.expressions import claims_compared
from jit_middleware.settings.policy import ProvisioningSettings
from jit_middleware.settings.reading import Reading
from jit_middleware.settings.reading_connections import Connection, read_connections
from jit_middleware.settings.reading_policy import read_policy
from jit_middleware.settings.reading_step_up import read_step_up
from jit_middleware.settings.saml import SAMLConnection, fetched_in_the_clear
from jit_middleware.settings.sections import InjectSettings, SessionSettings
from jit_middleware.settings.sources import gather
from jit_middleware.settings.step_up import StepUpRule
from jit_middleware.settings.table import variable
from jit_middleware.settings.url import PublicURL

_CREDENTIALS_END = "@"


@dataclass(frozen=True, slots=True)
class Settings:
    """What the operator decided, typed and checked; :meth:`load` makes it.

    ``secret_keys`` are newest first. ``revocation_max_staleness`` and ``revocation_grace`` are seconds. ``insecure``
    names the weakenings in force, as variables.

    >>> settings = Settings.load({
    ...     "JIT_PUBLIC_URL": "https://app.example.org",
    ...     "JIT_SECRET_KEY": "vPz1hTq0bJ7mXw3kYc9dLs5gNf2rUe8aQi6oBxZtGjM",
    ...     "JIT_OIDC_ISSUER": "https://login.example.org",
    ...     "JIT_OIDC_CLIENT_ID": "app",
    ...     "JIT_OIDC_CLIENT_SECRET": "from the provider",
    ... })
    >>> settings.public_url.join("/_jit/callback/oidc")
    'https://app.example.org/_jit/callback/oidc'
    """

    public_url: PublicURL
    secret_keys: tuple[bytes, ...] = field(repr=False)
    connections: tuple[Connection, ...]
    database_url: str = field(default="sqlite:///jit.db", repr=False)
    redis_url: str | None = field(default=None, repr=False)
    user_store: str = "default"
    paths: PathPolicy = field(default_factory=PathPolicy)
    endpoint_prefix: str = "/_jit"
    provisioning: ProvisioningSettings = field(default_factory=ProvisioningSettings)
    session: SessionSettings = field(default_factory=SessionSettings)
    step_up: tuple[StepUpRule, ...] = ()
    revocation_max_staleness: float = 1.0
    revocation_grace: float = 30.0
    inject: InjectSettings = field(default_factory=InjectSettings)
    trusted_proxies: TrustedProxies = field(default_factory=TrustedProxies)
    private_hosts: tuple[str, ...] = ()
    templates: str | None = None
    app_name: str = "this application"
    app: str | None = None
    insecure: tuple[str, ...] = ()

    @classmethod
    def load(cls, env: Mapping[str, str] | None = None, *, overrides: Mapping[str, object] | None = None) -> Settings:
        """The settings from ``JIT_…`` variables (``None``: the process's own) and the file ``JIT_CONFIG`` names.

        ``overrides`` has the shape of the TOML file and wins over both. Raises ``ConfigurationError`` with every fault.
        """
        return _read(Reading(gather(os.environ if env is None else env, overrides or {})))

    @property
    def database_label(self) -> str:
        """The database URL without user, password and query: what may be shown."""
        return _label(self.database_url)

    @property
    def redis_label(self) -> str | None:
        """The Redis URL without user, password and query: what may be shown."""
        return None if self.redis_url is None else _label(self.redis_url)

    def warnings(self) -> tuple[str, ...]:
        """What to log at start: a sentence for each weakening in force and each setting that has no effect."""
        said = [
            f"{variable(setting)} is on. {setting.meaning}"
            for setting in t.WEAKENINGS
            if variable(setting) in self.insecure
        ]
        said += [
            f"The link policy of {each.name} is {each.provisioning.link_policy}, but it has no verified domains: no "
            "account will ever be linked by its address."
            for each in self.connections
            if each.provisioning.link_policy != "never" and not each.verified_domains
        ]
        said += [
            f"The connections {', '.join(names)} each make their roles the only ones (JIT_ROLE_SYNC=exclusive): "
            "whoever signs in by more than one of them loses, at each login, the roles that the others have granted."
            for names in _exclusive(self.connections)
        ]
        said += [
            f"The metadata of {each.name} has to be signed, but idp_entity_id (JIT_SAML_IDP_ENTITY_ID) does not say "
            "whose it is: the metadata of any provider that the same signer vouches for would do."
            for each in self.connections
            if isinstance(each, SAMLConnection) and each.metadata_certificates and each.idp_entity_id is None
        ]
        said += [
            f"The path {pattern} of JIT_STEP_UP needs no login: who is not signed in reaches it without a step-up."
            for rule in self.step_up
            for pattern in rule.paths
            if self.paths.classify(pattern.removesuffix("*")) in (Access.PUBLIC, Access.OPTIONAL)
        ]
        return tuple(said)

    def notes(self) -> tuple[str, ...]:
        """What is worth knowing at start, and nothing is wrong with."""
        said = [
            f"{variable(setting)} has /*: nobody is sent to sign in, except on paths that a longer pattern names."
            for setting, patterns in ((t.PUBLIC_PATHS, self.paths.public), (t.OPTIONAL_PATHS, self.paths.optional))
            if "/*" in patterns
        ]
        said += [
            f"{each.name} takes security events (signals_issuer), but idp_entity_id (JIT_SAML_IDP_ENTITY_ID) does not "
            "say whose people they name: only events that name somebody by e-mail address will find anybody."
            for each in self.connections
            if isinstance(each, SAMLConnection) and each.signals.issuer is not None and each.idp_entity_id is None
        ]
        return (*said, *self._notes_on_policies())

    def _notes_on_policies(self) -> tuple[str, ...]:
        policies = [self.provisioning, *(each.provisioning for each in self.connections)]
        said = [
            f"{where} compares two claims, {first} and {second}. A text stands in single quotes; where {second} is "
            "meant to be a claim, write @. before it."
            for where, first, second in _compared(policies)
        ]
        if not self.provisioning.privileged_roles and any(
            each.default_roles or each.role_rules or each.group_roles or each.role_catalogue for each in policies
        ):
            said.append(
                "No role is privileged (JIT_PRIVILEGED_ROLES): what somebody is given by hand, or by a login on "
                "another device, comes to the sessions they have. Name the roles that are to wait for a new login, or "
                "* for all."
            )
        return tuple(said)


def _compared(policies: Iterable[ProvisioningSettings]) -> Iterable[tuple[str, str, str]]:
    """Where a condition compares two claims, and which; each place once."""
    conditions = {
        (where, condition): None
        for policy in policies
        for where, condition in [
            ("JIT_CLAIM_FILTER", policy.claim_filter),
            *((f"The rule {rule.id} (JIT_ROLE_RULES)", rule.when) for rule in policy.role_rules),
        ]
    }
    return [(where, *pair) for where, condition in conditions for pair in claims_compared(condition)]


def _exclusive(connections: Iterable[Connection]) -> Iterator[tuple[str, ...]]:
    """The connections of one tenant that take each other's roles."""
    by_tenant: dict[str, list[str]] = {}
    for each in connections:
        if each.provisioning.role_sync == "exclusive":
            by_tenant.setdefault(each.tenant, []).append(each.name)
    return (tuple(names) for names in by_tenant.values() if len(names) > 1)


def _label(url: str) -> str:
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition(_CREDENTIALS_END)[2].partition('?')[0]}"


def _read(reading: Reading) -> Settings:
    take = reading.take
    public_url = take(t.PUBLIC_URL)
    secret_keys = take(t.SECRET_KEY)
    provisioning = read_policy(reading)
    connections = read_connections(reading, provisioning)
    session = SessionSettings(
        idle=take(t.SESSION_IDLE),
        absolute=take(t.SESSION_ABSOLUTE),
        users_max_staleness=take(t.USERS_MAX_STALENESS),
    )
    paths = PathPolicy(public=take(t.PUBLIC_PATHS), optional=take(t.OPTIONAL_PATHS), api=take(t.API_PATHS))
    prefix = take(t.ENDPOINT_PREFIX)
    step_up = read_step_up(reading, prefix)
    insecure = tuple(variable(setting) for setting in t.WEAKENINGS if take(setting))
    database_url, redis_url, user_store = take(t.DATABASE_URL), take(t.REDIS_URL), take(t.USER_STORE)
    staleness, grace = take(t.REVOCATION_MAX_STALENESS), take(t.REVOCATION_GRACE)
    inject = replace(take(t.INJECT), app_cookies=take(t.APP_COOKIES))
    trusted_proxies, private_hosts = take(t.TRUSTED_PROXIES), take(t.PRIVATE_HOSTS)
    templates, app_name, app = take(t.TEMPLATES), take(t.APP_NAME), take(t.APP)

    _judge_session(reading, session)
    _judge_prefix(reading, prefix, paths)
    _judge_tls(reading, public_url, connections, insecure)
    if reading.faults or public_url is None:
        raise ConfigurationError(reading.faults)
    return Settings(
        public_url=public_url,
        secret_keys=secret_keys,
        connections=connections,
        database_url=database_url,
        redis_url=redis_url,
        user_store=user_store,
        paths=paths,
        endpoint_prefix=prefix,
        provisioning=provisioning,
        session=session,
        step_up=step_up,
        revocation_max_staleness=staleness,
        revocation_grace=grace,
        inject=inject,
        trusted_proxies=trusted_proxies,
        private_hosts=private_hosts,
        templates=templates,
        app_name=app_name or public_url.origin.partition("://")[2],
        app=app,
        insecure=insecure,
    )


def _judge_session(reading: Reading, session: SessionSettings) -> None:
    if session.idle > session.absolute:
        name = reading.name(t.SESSION_IDLE if reading.has(t.SESSION_IDLE) else t.SESSION_ABSOLUTE)
        problem = f"the idle limit ({session.idle}s) is longer than the absolute one ({session.absolute}s)."
        reading.note(
            name, problem, f"make JIT_SESSION_IDLE at most {session.absolute}s, or JIT_SESSION_ABSOLUTE longer."
        )


def _judge_prefix(reading: Reading, prefix: str, paths: PathPolicy) -> None:
    """Our own URLs answer first, so a pattern below them would never be asked: most likely a mistake."""
    for setting, patterns in (
        (t.PUBLIC_PATHS, paths.public),
        (t.OPTIONAL_PATHS, paths.optional),
        (t.API_PATHS, paths.api),
    ):
        for pattern in patterns:
            place = pattern.removesuffix("/*")
            if place == prefix or place.startswith(f"{prefix}/"):
                problem = f"{pattern!r} lies below our own URLs ({prefix})."
                reading.note(reading.name(setting), problem, "remove it, or move our URLs with JIT_ENDPOINT_PREFIX.")


def _judge_tls(
    reading: Reading, public_url: PublicURL | None, connections: tuple[Connection, ...], insecure: tuple[str, ...]
) -> None:
    if public_url is not None and not (
        public_url.secure or public_url.loopback or variable(t.INSECURE_HTTP) in insecure
    ):
        fix = f"write https://, or, knowing that cookies then travel unprotected, set {variable(t.INSECURE_HTTP)}=true."
        reading.note(reading.name(t.PUBLIC_URL), "http is for loopback only.", fix)
    for connection in connections:
        under = ("connections", connection.name)
        if isinstance(connection, SAMLConnection):
            if fetched_in_the_clear(connection):
                name = reading.name(saml_table.IDP_METADATA, under=under)
                reading.note(name, "http is for loopback only: anybody on the way could sign in.", "write https://.")
        elif reached_in_the_clear(connection.issuer):
            name = reading.name(t.ISSUER, under=under)
            reading.note(name, "http is for loopback only: anybody on the way could sign in.", "write https://.")
