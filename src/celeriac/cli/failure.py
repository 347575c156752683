"""How a command ends when it cannot do what was asked: one line what, one line what to do next, an exit code."""

from __future__ import annotations

import os

import click

from celeriac.model.errors import (
    BackendMisconfigured,
    BackendRejected,
    BackendUnavailable,
    BrokerMisconfigured,
    BrokerRejected,
    BrokerUnavailable,
    CeleriacError,
    EncodeError,
    ImproperlyConfigured,
    NotRegistered,
    OperationalError,
    UnknownOption,
)

# Exit codes; above 2 they are those of sysexits.h, which init systems know.
EXIT_FAILED = 1
"""It was done, and the answer is no: the task failed, an id was not found."""
EXIT_USAGE = 2
EXIT_DATA = 65
"""A value that was given cannot be sent or read."""
EXIT_UNAVAILABLE = 69
EXIT_SOFTWARE = 70
"""The app's own code failed while it was imported."""
EXIT_NOT_YET = 75
"""There is no answer yet; the same command may succeed later."""
EXIT_CONFIG = 78
EXIT_INTERRUPTED = 130


class Failure(Exception):
    """Ends the command.

    :param message: what is wrong, in one line
    :param hint: what to do next, in one line
    :param exit_code: see the constants of this module
    :param details: more lines, shown first (the traceback of the user's module)
    """

    def __init__(self, message: str, hint: str = "", exit_code: int = EXIT_FAILED, details: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.exit_code = exit_code
        self.details = details

    def show(self) -> None:
        """Print it to standard error."""
        color = False if os.environ.get("NO_COLOR") else None
        if self.details:
            click.echo(self.details.rstrip("\n"), err=True, color=color)
        click.echo(f"{click.style('Error:', fg='red', bold=True)} {self.message}", err=True, color=color)
        if self.hint:
            click.echo(f"{click.style('Next:', fg='yellow')}  {self.hint}", err=True, color=color)


_NEXT: tuple[tuple[type[CeleriacError], int, str], ...] = (
    (BrokerUnavailable, EXIT_UNAVAILABLE, "See that the broker runs and can be reached, then try again."),
    (BackendUnavailable, EXIT_UNAVAILABLE, "See that the result backend runs and can be reached, then try again."),
    (BrokerMisconfigured, EXIT_CONFIG, "Correct the broker's address: -b, broker_url, or CELERY_BROKER_URL."),
    (
        BackendMisconfigured,
        EXIT_CONFIG,
        "Correct the backend's address: --result-backend, result_backend, or CELERY_RESULT_BACKEND.",
    ),
    (ImproperlyConfigured, EXIT_CONFIG, "Correct the setting; `celeriac -A APP report` prints all that are set."),
    (BrokerRejected, EXIT_DATA, "Change what is sent; trying again will not help."),
    (BackendRejected, EXIT_DATA, "Change what is asked for; trying again will not help."),
    (OperationalError, EXIT_UNAVAILABLE, "Try again; `celeriac -A APP report` shows what can be reached."),
    (EncodeError, EXIT_DATA, "Send values that the serializer takes, or choose another one with --serializer."),
    (NotRegistered, EXIT_USAGE, "`celeriac -A APP report` lists the tasks that the app knows."),
    (UnknownOption, EXIT_USAGE, "Correct the name of the option."),
)


def explain(error: CeleriacError) -> Failure:
    """What to print for an error of the package: its own text, and the next step for its kind."""
    text = " ".join(str(error).split()) or type(error).__name__
    for kind, exit_code, hint in _NEXT:
        if isinstance(error, kind):
            return Failure(text, hint, exit_code)
    return Failure(f"{type(error).__name__}: {text}")
