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
def pretrain() -> None:
    """Train the classifier that notebook 05 starts from (for maintainers)."""
    from tutorial_lib import pretraining
    from tutorial_lib.data.cache import file_hash

    accuracy = pretraining.train_classifier(echo=click.echo)
    click.echo(f"accuracy on new pictures: {accuracy:.3f}")
    click.echo(f"CHECKPOINT_SHA256 = {file_hash(pretraining.CHECKPOINT)!r}")


@main.command()
@click.argument("photo", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--label", default="cat", show_default=True, help="What to cut out, a VOC class.")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path),
    help="The PNG to write.  [default: PHOTO-LABEL.png, where you are]",
)  # fmt: skip
@click.option(
    "--model", type=click.Path(dir_okay=False, path_type=Path),
    help="The net, as notebook 05 saves it.  [default: models/fcn8s-voc.keras in the data folder]",
)  # fmt: skip
@click.option("--contour", default=12, show_default=True, help="Width of the contour, in pixels.")
@click.option("--shadow", is_flag=True, help="Lay a soft shadow under it.")
@click.option("--crf/--no-crf", default=True, help="Draw the outline along the picture's edges.")
@click.option(
    "--preview", type=click.Path(dir_okay=False, path_type=Path),
    help="Also write a picture of it on light and dark.",
)  # fmt: skip
def sticker(photo, label, output, model, contour, shadow, crf, preview) -> None:
    """Cut an object out of PHOTO: a transparent PNG with a white contour.

    The net must have been trained on photographs: the one that comes with the tutorials has seen
    pictograms only. `tutorial run 05 -p dataset voc` trains one and leaves it where this looks.
    """
    from tutorial_lib import profiles, stickers
    from tutorial_lib.data import data_home
    from tutorial_lib.inference import read_photograph

    image = read_photograph(photo)  # a wrong name should not wait for TensorFlow
    path = model or data_home() / "models" / "fcn8s-voc.keras"
    with profiles.native_notes_silenced():
        from tutorial_lib.saving import load_net
    net = load_net(path)
    mask = stickers.find_object(net.labels(image, crf=crf), label, net.classes)
    result = stickers.make_sticker(image, mask, contour=contour, shadow=shadow)
    output = output or Path(f"{photo.stem}-{label}.png")
    stickers.save_sticker(result, output)
    click.echo(f"{output}: {result.shape[1]}×{result.shape[0]} pixels")
    if preview:
        stickers.save_picture(stickers.preview(result), preview)
        click.echo(preview)


@main.command()
@click.option("-i", "--input", "i", type=int, default=5, show_default=True, help="Input size.")
@click.option("-k", "--kernel", "k", type=int, default=3, show_default=True, help="Kernel size.")
@click.option("-s", "--stride", "s", type=int, default=1, show_default=True, help="Stride.")
@click.option("-p", "--padding", "p", type=int, default=0, show_default=True, help="Padding.")
@click.option("-d", "--dilation", "d", type=int, default=1, show_default=True, help="Dilation.")
@click.option("--output-padding", type=int, default=0, help="For a transposed convolution.")
@click.option("--transposed", "kind", flag_value="transposed", help="Over inserted zeros.")
@click.option("--stamping", "kind", flag_value="stamping", help="Transposed, as stamping.")
@click.argument("path", type=click.Path(dir_okay=False, path_type=Path))
def animate(kind, output_padding: int, path: Path, **geometry: int) -> None:
    """Write a convolution as an animation to PATH, a GIF.

    All sizes but the input's are those of the direct convolution.
    """
    from tutorial_lib import animation

    if path.suffix.lower() != ".gif":
        raise InputError(f"{path} should end in .gif")
    if output_padding and not kind:
        raise InputError("--output-padding goes with --transposed or --stamping")
    if kind:
        geometry["output_padding"] = output_padding
    describe = {
        None: animation.slide,
        "transposed": animation.transposed_slide,
        "stamping": animation.stamping_slide,
    }[kind]
    sliding = describe(**geometry)
    animation.save_gif(sliding, path)
    click.echo(f"{path}: {sliding.story}")


@main.group()
def data() -> None:
    """List, fetch and make data sets."""


@data.command("list")
def list_data() -> None:
    """Say which data sets there are, and which are here."""
    from tutorial_lib.data import data_home, registry

    click.echo(f"data folder: {data_home()}")
    for name, dataset in registry.DATASETS.items():
        here = all((data_home() / file.target).is_file() for file in dataset.files)
        size = sum(file.size for file in dataset.files) / 1e6
        state = "here" if here else f"`tutorial data fetch {name}`, {size:.1f} MB"
        click.echo(f"{name:8} {dataset.title}, {dataset.license} ({state})")
    click.echo("coco     COCO 2017; put it into data/coco by hand, see data/README.md")
    click.echo("voc      PASCAL VOC 2012; put it into data/voc by hand, see data/README.md")


@data.command()
@click.argument("name")
def fetch(name: str) -> None:
    """Download a data set into the data folder."""
    from tutorial_lib.data import registry

    registry.fetch(name, echo=click.echo, progress=sys.stderr.isatty())


@data.command()
def make() -> None:
    """Make the bundled scenes now, so that a class can work without a wait."""
    from tutorial_lib.data import bundled

    for build, sizes in ((bundled.coco_tree, (480, 120)), (bundled.voc_tree, (1600, 100))):
        click.echo(build(train=sizes[0], val=sizes[1]))


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
