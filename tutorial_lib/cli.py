"""The `tutorial` command.

Everything heavy is imported inside the commands, so that `tutorial --help` answers at once.
"""

from __future__ import annotations

import sys
from pathlib import Path

import click

from tutorial_lib import __version__
from tutorial_lib.errors import InputError

CHECKOUT = Path(__file__).resolve().parents[1]


class OneLineErrors(click.Group):
    """A command group that tells the user what went wrong in one line, without a traceback."""

    def invoke(self, ctx: click.Context):
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise click.ClickException(str(error)) from None
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            sys.exit(130)


timeout_option = click.option(
    "--timeout", type=click.FloatRange(min=0, min_open=True), default=900, show_default=True,
    help="Seconds that one cell may take.",
)  # fmt: skip


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tutorial")
def main() -> None:
    """Run, check and feed the tutorials on fully convolutional networks."""


@main.command()
@click.argument("names", nargs=-1)
@click.option(
    "-p", "--parameter", "pairs", nargs=2, multiple=True, metavar="NAME VALUE",
    help="Set a notebook parameter, e.g. -p profile full.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), default=CHECKOUT / "build",
    help="Folder for executed notebooks and the report.  [default: build]",
)  # fmt: skip
@click.option(
    "--folder", type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Where the notebooks are, if they are your own.",
)  # fmt: skip
@timeout_option
def run(names, pairs, output: Path, folder: Path | None, timeout: float) -> None:
    """Execute all notebooks, or those whose NAMES are given (01 is enough)."""
    from tutorial_lib import execution

    paths = execution.find_notebooks(names, (folder or execution.NOTEBOOKS).resolve())
    results = execution.run(
        paths, dict(pairs), output.resolve(), timeout, click.echo, progress=sys.stderr.isatty()
    )
    click.echo(f"Report: {output / 'report' / 'index.html'}")
    interrupted = any(result.status == "interrupted" for result in results)
    failed = any(result.status == "failed" for result in results)
    sys.exit(130 if interrupted else int(failed))


@main.command("list")
def list_notebooks() -> None:
    """List the notebooks with their parameters."""
    import json

    from tutorial_lib import execution

    for path in execution.find_notebooks():
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        title = "".join(cells[0]["source"]).splitlines()[0].lstrip("# ")
        click.secho(f"{path.stem}", bold=True, nl=False)
        click.echo(f"  {title}")
        for name, entry in execution.notebook_parameters(path).items():
            click.echo(f"    {name:<11} {entry['type']:<5} {entry['default']:<10} {entry['help']}")


@main.command()
@click.argument("names", nargs=-1)
@timeout_option
def refresh(names, timeout: float) -> None:
    """Execute notebooks and store the outputs in notebooks/ (for maintainers)."""
    from tutorial_lib import execution, storage

    failed = False
    for path in execution.find_notebooks(names):
        result = storage.refresh(path, timeout, progress=sys.stderr.isatty())
        click.echo(f"{result.name}: {result.summary()}")
        failed |= result.status != "passed"
    sys.exit(int(failed))


@main.command()
def doctor() -> None:
    """Look whether this machine has what the notebooks need."""
    from tutorial_lib import diagnosis

    findings = diagnosis.examine()
    for finding in findings:
        click.echo(f"{'ok  ' if finding.good else 'BAD '} {finding.name:<12} {finding.text}")
    sys.exit(int(not all(finding.good for finding in findings)))


if __name__ == "__main__":
    main()
