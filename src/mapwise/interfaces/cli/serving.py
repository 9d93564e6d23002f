"""The command that starts the server."""

from pathlib import Path
from typing import Annotated

import typer

from mapwise.interfaces.cli.app import app


@app.command("serve", epilog="Examples: mapwise serve; mapwise serve --folder teaching --port 8080 --no-browser")
def serve_command(
    host: Annotated[str, typer.Option(help="Address; any but a loopback one needs --token.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen at; 0: a free one.")] = 8765,
    folder: Annotated[Path, typer.Option(help="Folder that holds everything.")] = Path("mapwise-serve"),
    token: Annotated[
        str | None,
        typer.Option(envvar="MAPWISE_TOKEN", help="Without it nothing is answered. \\[none]", show_default=False),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option("--name", help="Further name by which it may be called, as a proxy does.", show_default=False),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            metavar="NAME=VERSION",
            help="An hf: encoder on this machine that may be opened, by its version.",
            show_default=False,
        ),
    ] = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Threads of an encoder's pass. \\[half of the cores]", show_default=False)
    ] = None,
    log_requests: Annotated[bool, typer.Option("--log-requests", help="Log the route of each request.")] = False,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page.")] = True,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate, for https.", show_default=False)] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its key.", show_default=False)] = None,
) -> None:
    """Start a server on which predictors are made and used, and open its page."""
    from mapwise.interfaces.server.start import start

    start(
        *(host, port, folder.expanduser(), token or "", tuple(name or ()), model or []),
        threads=threads,
        log_requests=log_requests,
        browser=browser,
        certificate=tls_cert,
        key=tls_key,
    )
