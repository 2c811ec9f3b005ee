"""The command line `rackproof`: data on stdout, everything else on stderr."""

from pathlib import Path
from typing import Any

import click

from collector.cli.benchmarks import benchmarks
from collector.cli.options import read, settings_options
from shared.command_line import Commands


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(package_name="rackproof")
def commands() -> None:
    """Keep rented servers healthy, measured and clean between tenants, and prove it."""


@commands.command()
@settings_options
@click.option("--listen", metavar="HOST:PORT", help="Address to listen on.")
@click.option("--origin", "origins", multiple=True, metavar="URL", help="Address under which agents reach this.")
@click.option("--evidence", metavar="URL", help="file:///PATH or s3://BUCKET/PREFIX.")
@click.option("--migrate/--no-migrate", default=False, help="Make or upgrade the database first.")
def serve(file: Path | None, *, migrate: bool, origins: tuple[str, ...], **flags: Any) -> None:
    """Run the collector."""
    import uvloop  # noqa: PLC0415

    from collector.compose import serve as run  # noqa: PLC0415
    from collector.store import migrate as schema  # noqa: PLC0415
    from shared import logs  # noqa: PLC0415

    settings = read(file, origins=origins or None, **flags)
    logs.configure(json={"json": True, "text": False}.get(settings.log), level=settings.log_level)
    prepare(settings)
    if migrate:
        schema.migrate(settings.database_url)
    schema.check(settings.database_url)
    uvloop.run(run(settings))


def prepare(settings: Any) -> None:
    """Make the data directory, where the embedded database lies."""
    from shared.codes import Code, Trouble  # noqa: PLC0415

    try:
        Path(settings.data_dir).mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Trouble(Code.STATE_UNWRITABLE, f"{settings.data_dir}: {error.strerror}") from error


@commands.command("migrate")
@settings_options
def migrate_(file: Path | None, **flags: Any) -> None:
    """Make the database, or upgrade it; safe to repeat."""
    from collector.store import migrate as schema  # noqa: PLC0415

    settings = read(file, **flags)
    if not settings.database:
        prepare(settings)
    before, after = schema.migrate(settings.database_url)
    click.echo(f"{before or 'empty'} -> {after}" if before != after else f"{after}, nothing to do")


@commands.command()
def openapi() -> None:
    """Print the OpenAPI document of the API."""
    from collector.cli.describing import openapi_text  # noqa: PLC0415

    click.echo(openapi_text())


@commands.command()
@click.argument("paths", metavar="FILE...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--machine-key", "machine_keys", multiple=True, metavar="HEX|FILE", help="A wiper's public key.")
@click.option("--collector-key", "collector_keys", multiple=True, metavar="HEX|FILE", help="A collector's public key.")
@click.option("--json", "as_json", is_flag=True, help="JSON, one line a certificate.")
@click.pass_context
def verify(
    ctx: click.Context,
    paths: tuple[Path, ...],
    *,
    machine_keys: tuple[str, ...],
    collector_keys: tuple[str, ...],
    as_json: bool,
) -> None:
    """
    Check wipe certificates offline, and print them for a person.

    FILE is a certificate (GET /v1/data_wipes/ID/evidence) or a directory of them; of several, each machine's chain,
    from its first certificate on, is checked too. Keys come from GET /v1/machines/ID/keys and GET /v1/collector_key,
    got once and kept apart from the certificates; a collector's key is enough, for its receipt names the machine's.
    Both options may be repeated.

    Exit codes: 0 everything holds; 1 something does not (bad_signature, wrong_document, chain_gap); 2 what was given as
    a key is none; 3 no key was given, so that nobody vouches for it; 65 not a certificate (malformed, too_large,
    wrong_document); 66 no such file.
    """
    from collector.cli import verifying  # noqa: PLC0415

    ctx.exit(verifying.verify(paths, machine_keys, collector_keys, ctx.command_path, as_json=as_json))


@commands.command("bandwidth-server")
@click.option(
    "--listen", default="127.0.0.1:8480", show_default=True, metavar="HOST:PORT", help="Address to listen on."
)
@click.option("--origin", "origins", multiple=True, metavar="URL", help="Address in tickets; may be repeated.")
@click.option("--link-gbps", type=click.FloatRange(0.001, 1000), help="Speed of this server's link in Gbit/s.")
@click.option("--collector-key", metavar="HEX|FILE", help="Public key of the collector whose tickets are taken.")
@click.option(
    "--key-file",
    type=click.Path(path_type=Path),
    default=Path("/var/lib/rackproof/bandwidth.key"),
    show_default=True,
    help="This server's own key, made on the first start; used tickets are kept beside it.",
)
@click.option("--tls-cert", type=click.Path(path_type=Path), help="Certificate chain (PEM).")
@click.option("--tls-key", type=click.Path(path_type=Path), help="Its private key (PEM).")
@click.option("--plain-http", is_flag=True, help="Without TLS, also where others on the way could read a slot's token.")
@click.option("--workers", type=click.IntRange(1, 64), help="Processes; one for each CPU when left out.")
@click.option("--show-key", is_flag=True, help="Print this server's public key in hex, and end.")
def bandwidth_server(*, show_key: bool, key_file: Path, **flags: Any) -> None:
    """
    Run a measuring server for bandwidth, beside the collector or elsewhere.

    It admits a machine with a ticket that the collector signed (GET /v1/collector_key has its key), as many at once as
    60 % of its link has room for, and signs what it saw. The machines need --origin in their reach; a plain TCP proxy
    between is fine. /healthz and /metrics answer on the same port.
    """
    from collector.cli import bandwidth  # noqa: PLC0415

    if show_key:
        click.echo(bandwidth.shown_key(key_file))
    else:
        bandwidth.serve(key_file=key_file, **flags)


@commands.group()
def token() -> None:
    """Make, list and revoke tokens."""


@token.command("create")
@settings_options
@click.option("--role", type=click.Choice(["admin", "platform", "auditor", "provider"]), required=True)
@click.option("--customer", "customer_id", help="Whose machines a provider's token shows.")
@click.option("--name", required=True, help="Whom or what it is for; shown in the audit trail.")
@click.option("--days", type=click.IntRange(1, 3650), default=365, show_default=True)
def create_token(file: Path | None, *, role: str, customer_id: str | None, name: str, days: int, **flags: Any) -> None:
    """Print a new API token; it is shown this once."""
    from collector.cli import tokens  # noqa: PLC0415

    click.echo(tokens.create(read(file, **flags), role, name, days, customer_id))


@token.command("enrollment")
@settings_options
@click.option("--customer", "customer_id", required=True, help="The provider who owns the machine.")
@click.option("--machine", "hardware_id", help="Let this known machine enroll again.")
@click.option("--minutes", type=click.IntRange(1, 10_080), default=60, show_default=True)
def enrollment_token(
    file: Path | None, *, customer_id: str, hardware_id: str | None, minutes: int, **flags: Any
) -> None:
    """Print a token with which one machine of a customer can enroll, once."""
    from collector.cli import tokens  # noqa: PLC0415

    click.echo(tokens.enrollment(read(file, **flags), customer_id, hardware_id, minutes))


@token.command("list")
@settings_options
@click.option("--json", "as_json", is_flag=True, help="JSON lines.")
def list_tokens(file: Path | None, *, as_json: bool, **flags: Any) -> None:
    """List API tokens, without their secrets."""
    from collector.cli import tokens  # noqa: PLC0415

    for line in tokens.lines(read(file, **flags), as_json=as_json):
        click.echo(line)


@token.command("revoke")
@settings_options
@click.argument("token_id")
def revoke_token(file: Path | None, *, token_id: str, **flags: Any) -> None:
    """Stop an API token from working."""
    from collector.cli import tokens  # noqa: PLC0415

    tokens.revoke(read(file, **flags), token_id)
    click.echo(f"{token_id} is revoked", err=True)


@commands.group()
def user() -> None:
    """Register users."""


@user.command("add")
@settings_options
@click.argument("customer_id")
@click.argument("email")
@click.option("--organization", default=None)
def add_user(file: Path | None, *, customer_id: str, email: str, organization: str | None, **flags: Any) -> None:
    """Register a user, a provider say, without the API."""
    from collector.cli import tokens  # noqa: PLC0415

    tokens.add_user(read(file, **flags), customer_id, email, organization)
    click.echo(f"{customer_id} is registered", err=True)


@commands.command()
@click.option("--once", is_flag=True, help="End by itself and leave nothing behind.")
def demo(*, once: bool) -> None:
    """Run a collector and an agent here: enroll, report, benchmark, wipe; as a demonstration."""
    import asyncio  # noqa: PLC0415

    from collector.cli.demo import demo as play  # noqa: PLC0415

    asyncio.run(play(once=once))


commands.add_command(benchmarks)
