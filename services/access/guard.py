"""How a service guards its address: put together once, from its settings, by its entry point."""

from __future__ import annotations

from dataclasses import dataclass

from milepost.installation.settings import Settings
from milepost.security.tokens import SessionTokens, TokenError, Verifier
from services.access.authentication import AuthenticationInterceptor, Authenticator, Observation, Observer
from services.access.exposure import Tls, check_exposure, is_loopback, tls_of

REQUIRED = "required"
LOOPBACK = "loopback"


class Unobserved:
    """Takes no notice: for servers without an event log."""

    def observe(self, observation: Observation) -> None:
        return


@dataclass(frozen=True, slots=True)
class Access:
    """Who may come in at one listening address, and over what."""

    listen: str
    interceptor: AuthenticationInterceptor
    authenticator: Authenticator
    tls: Tls | None = None
    # Makes sessions of browsers; None: nobody can sign in.
    sessions: SessionTokens | None = None


def open_access(settings: Settings, service: str, observer: Observer | None = None) -> Access:
    """Guard the address `<service>_listen` as the settings say.

    Raises:
        SystemExit: others could reach it without TLS and tokens, or tokens cannot be read; the message says more.
    """
    listen = settings[f"{service}_listen"]
    tls = tls_of(settings["tls_certificate"], settings["tls_key"], settings["tls_client_ca"])
    if settings["authentication"] not in (LOOPBACK, REQUIRED):
        raise SystemExit(f"--authentication is {LOOPBACK} or {REQUIRED}, not {settings['authentication']}")
    try:
        verifier = Verifier.of(settings.tokens_file, settings.keys_dir)
        check_exposure(f"the {service} service", listen, tls, verifier.store.has_live_tokens())
    except TokenError as error:
        raise SystemExit(str(error)) from error
    authenticator = Authenticator(verifier, required=settings["authentication"] == REQUIRED or not is_loopback(listen))
    interceptor = AuthenticationInterceptor(authenticator, observer or Unobserved())
    return Access(listen, interceptor, authenticator, tls, verifier.sessions)


def loopback_access(listen: str) -> Access:
    """Guard a loopback address without any files: no tokens are valid, and none are needed.

    Raises:
        SystemExit: others than this machine can reach the address.
    """
    check_exposure("the server", listen, None, False)
    authenticator = Authenticator(None, required=False)
    return Access(listen, AuthenticationInterceptor(authenticator, Unobserved()), authenticator)
