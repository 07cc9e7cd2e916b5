"""The `tutorial` command.

Everything heavy is imported inside the commands, so that `tutorial --help` answers at once.
"""

from __future__ import annotations

import itertools
import os
import signal
import sys
from pathlib import Path

import click

from tutorial_lib import CHECKOUT, __version__
from tutorial_lib.errors import InputError

# The notebooks whose trained networks are in git, and the names of the files.
TRAINED = {"02": "decoders-*", "03": "*digits*", "04": "unet-*", "05": "fcn-*"}


class OneLineErrors(click.Group):
    """A command group that shows an error as one line, without a traceback."""

    def invoke(self, ctx: click.Context):
        try:
            return super().invoke(ctx)
        except InputError as error:
            raise click.ClickException(str(error)) from None
        except BrokenPipeError:
            raise  # the reader of our output has closed the pipe; click ends quietly
        except OSError as error:
            # The user's request is fine, but the disk is full or a permission is missing.
            reason = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            raise click.ClickException(" ".join(reason.split())) from None
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            sys.exit(130)


timeout_option = click.option(
    "--timeout", type=click.IntRange(min=1), default=900, show_default=True,
    help="Seconds that one cell may take.",
)  # fmt: skip
output_option = click.option(
    "-o", "--output", type=click.Path(file_okay=False, path_type=Path), default=CHECKOUT / "build",
    help="Folder for executed notebooks and the report.  [default: build]",
)  # fmt: skip


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="tutorial")
def main() -> None:
    """Run and check the tutorials on fully convolutional networks, and fetch their data."""
    if os.environ.get("TUTORIAL_DATA"):
        from tutorial_lib.data import data_home

        # Kernels work in notebooks/, where a relative path would mean another folder.
        os.environ["TUTORIAL_DATA"] = str(data_home())


@main.command()
@click.argument("names", nargs=-1)
@click.option(
    "-p", "--parameter", "pairs", nargs=2, multiple=True, metavar="NAME VALUE",
    help="Set a notebook parameter, e.g. -p profile full.",
)  # fmt: skip
@click.option(
    "-j", "--jobs", type=click.IntRange(min=1), default=1, show_default=True,
    help="Notebooks that run at the same time.",
)  # fmt: skip
@output_option
@timeout_option
def run(names, pairs, jobs: int, output: Path, timeout: int) -> None:
    """Execute all notebooks, or those with the given NAMES (01 is enough) or paths."""
    from tutorial_tools import runner

    paths = runner.find_notebooks(names)
    # A CI system ends a run with SIGTERM; it should find a report all the same.
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        results = runner.run_notebooks(
            paths, dict(pairs), output.resolve(), timeout, click.echo, sys.stderr.isatty(), jobs
        )
    finally:
        signal.signal(signal.SIGTERM, former)
    click.echo(f"Report: {output / 'report' / 'index.html'}")
    statuses = {result.status for result in results}
    sys.exit(130 if "interrupted" in statuses else int("failed" in statuses))


@main.command()
@output_option
def report(output: Path) -> None:
    """Write the page on the last run and tests again, and print where the time went."""
    from tutorial_tools import report

    folder = output.resolve() / "report"
    report.write_page(folder)
    click.echo(report.summary(folder))
    click.echo(f"Report: {output / 'report' / 'index.html'}")


@main.command(context_settings={"ignore_unknown_options": True})
@click.option(
    "--fresh", multiple=True, metavar="NAME",
    help="Write a new copy of a chapter (03 is enough) beside your own; can be repeated.",
)  # fmt: skip
@click.option("--prepare", is_flag=True, help="Make and list the copies; do not open JupyterLab.")
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
def lab(fresh, prepare: bool, options) -> None:
    """Open your own copies of the chapters, in work/, in JupyterLab.

    The copies begin without outputs. Those that you have changed or run are never overwritten.
    OPTIONS go to JupyterLab, e.g. --no-browser.
    """
    from tutorial_tools import classroom

    for copy in classroom.prepare():
        note = "; the chapter has changed since" if copy.outdated else ""
        click.echo(f"{copy.path}: {copy.state}{note}")
    for path in classroom.fresh_copies(fresh) if fresh else ():
        click.echo(path)
    if not prepare and not fresh:
        sys.exit(classroom.open_lab(options))


@main.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--platform", "platforms", multiple=True,
    help="linux-x86_64, linux-aarch64, macos-arm64 or windows-amd64; can be repeated.  "
    "[default: this one]",
)  # fmt: skip
@click.option(
    "--python", "pythons", multiple=True,
    help="3.11, 3.12 or 3.13; can be repeated.  [default: this one]",
)  # fmt: skip
def bundle(out: Path, platforms, pythons) -> None:
    """Write OUT, a folder or a .zip, from which a class installs and works without a network.

    It holds the project, the wheels for the platforms, the scenes, the site and start scripts.
    """
    from tutorial_tools import bundle

    bundle.make(out.resolve(), platforms, pythons, click.echo, progress=sys.stderr.isatty())


@main.command()
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
@click.argument("names", nargs=-1)
def handout(output: Path, names) -> None:
    """Write chapters without solutions for a class to OUTPUT, a course of nbgrader.

    It also gets an answer key with rubrics, to print. NAMES (01 is enough) select chapters.
    """
    from tutorial_tools import handout

    for path in handout.write_course(output, names):
        click.echo(path)


@main.command()
@click.argument(
    "folders", nargs=-1, required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
)  # fmt: skip
@click.option(
    "--timeout", type=click.IntRange(min=1), default=60, show_default=True,
    help="Seconds that one cell of a student, or the check of an answer, may take.",
)  # fmt: skip
def grade(folders, timeout: int) -> None:
    """Run what students handed in, and print a table (CSV) with their points.

    Each of FOLDERS holds a folder or a notebook per student, or is the folder of one student. The
    code of a student runs with your rights, but without a network where the system allows it.
    """
    import csv

    from tutorial_tools import grading

    sys.stdout.reconfigure(encoding="utf-8")  # a name may hold letters that Windows has not
    table = csv.DictWriter(sys.stdout, grading.FIELDS, lineterminator="\n")
    table.writeheader()
    for row in grading.grade_class(folders, timeout, lambda line: click.echo(line, err=True)):
        table.writerow(row)
        sys.stdout.flush()


@main.command("list")
def list_notebooks() -> None:
    """List the notebooks with their parameters."""
    from tutorial_tools import report, runner

    for path in runner.find_notebooks():
        first_cell = report.read_json(path)["cells"][0]
        title = "".join(first_cell["source"]).splitlines()[0].lstrip("# ")
        click.secho(path.stem, bold=True, nl=False)
        click.echo(f"  {title}")
        for name, entry in runner.notebook_parameters(path).items():
            click.echo(f"    {name:<11} {entry['type']:<5} {entry['default']:<10} {entry['help']}")


@main.command()
@click.argument("names", nargs=-1)
@timeout_option
def refresh(names, timeout: int) -> None:
    """Execute notebooks and store the outputs in notebooks/ (for maintainers)."""
    import shutil

    from tutorial_lib.data import data_home
    from tutorial_lib.training import checkpoints
    from tutorial_tools import canonical, runner

    # The stored outputs should come from networks trained now, not by other versions or machines.
    shutil.rmtree(data_home() / checkpoints.CACHED, ignore_errors=True)
    failed = False
    for path in runner.find_notebooks(names):
        result = canonical.refresh(path, timeout, progress=sys.stderr.isatty())
        click.echo(f"{result.name}: {result.summary()}")
        failed |= result.status != "passed"
    sys.exit(int(failed))


@main.command()
@click.argument("network", type=click.Choice([*TRAINED, "classifier", "voc", "cats"]))
@click.option(
    "--data", type=click.Path(path_type=Path),
    help="For voc: the folder VOCdevkit.  [default: voc/VOCdevkit in the data folder]",
)  # fmt: skip
@click.option(
    "--coco", multiple=True, type=click.Path(path_type=Path),
    help="For voc and cats: a folder of COCO to train on as well; can be repeated.",
)  # fmt: skip
@click.option(
    "--seed", default=0, show_default=True, help="For voc and cats: of all random choices."
)
def pretrain(network: str, data: Path | None, coco, seed: int) -> None:
    """Train networks that the project ships.

    These are the ones that notebooks 02 to 05 load, the classifier that 05 starts from, and
    those for photographs (voc) and cats.
    """
    from tutorial_lib.data import data_home
    from tutorial_lib.data.cache import file_hash

    if network in TRAINED:
        _ship_networks(network)
        return
    if network == "voc":
        from tutorial_lib.training import photo_fcn as module

        data = data or data_home() / "voc" / "VOCdevkit"
        module.train_checkpoint(data, coco, seed, echo=click.echo)
    elif network == "cats":
        from tutorial_lib.training import transfer as module

        module.train_cat_checkpoint(coco or [data_home() / "coco"], seed, echo=click.echo)
    else:
        from tutorial_lib.training import pretrain as module

        accuracy = module.train_classifier(echo=click.echo)
        click.echo(f"accuracy on validation images: {accuracy:.3f}")
    click.echo(f"CHECKPOINT_SHA256 = {file_hash(module.CHECKPOINT)!r}")


def _ship_networks(notebook: str) -> None:
    """Train the networks of a notebook by running it, and keep those that it loads."""
    import tempfile

    from tutorial_lib.training import checkpoints
    from tutorial_tools import runner

    (path,) = runner.find_notebooks([notebook])
    with tempfile.TemporaryDirectory() as home:
        os.environ["TUTORIAL_DATA"] = home
        output = CHECKOUT / "build" / "pretrain" / path.name
        result = runner.execute(path, output, {"retrain": True}, timeout=3600)
        click.echo(f"{result.name}: {result.summary()}")
        if result.status != "passed":
            sys.exit(1)
        for file in checkpoints.ship(TRAINED[notebook], Path(home)):
            click.echo(file)


@main.command()
@click.argument("photo", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--label", help="What to cut out, a class of VOC.  [default: the largest object]")
@click.option(
    "-o", "--output", type=click.Path(dir_okay=False, path_type=Path),
    help="The PNG to write.  [default: PHOTO-sticker.png, where you are]",
)  # fmt: skip
@click.option(
    "--model", type=click.Path(dir_okay=False, path_type=Path),
    help="A network that notebook 05 saved.  [default: the one that comes with the tutorials]",
)  # fmt: skip
@click.option("--contour", default=12, show_default=True, help="Width of the contour, in pixels.")
@click.option("--shadow", is_flag=True, help="Add a soft shadow.")
@click.option("--crf/--no-crf", default=True, help="Move the boundary to edges of the image.")
@click.option(
    "--preview", type=click.Path(dir_okay=False, path_type=Path),
    help="Also write an image of it on light and dark.",
)  # fmt: skip
def sticker(photo, label, output, model, contour, shadow, crf, preview) -> None:
    """Cut an object out of PHOTO: a transparent PNG with a white contour.

    The network knows the twenty classes of PASCAL VOC, for example cat, dog, person, car and
    bicycle.
    """
    from tutorial_lib import notebook, stickers
    from tutorial_lib.data.images import read_photograph

    output = output or Path(f"{photo.stem}-sticker.png")
    # What is wrong with a name should not wait for TensorFlow.
    written, read = [output, preview], [photo, model]
    _check_outputs([path for path in written if path], [path for path in read if path])
    image = read_photograph(photo)
    with notebook.native_notes_silenced():
        from tutorial_lib.training.checkpoints import load_network
        from tutorial_lib.training.photo_fcn import load_voc_network
    network = load_network(model) if model else load_voc_network()
    labels = network.segment(image, crf=crf)
    label = label or stickers.largest_class(labels, network.classes)
    mask = stickers.find_object(labels, label, network.classes)
    result = stickers.make_sticker(image, mask, contour=contour, shadow=shadow)
    stickers.save_png(result, output)
    click.echo(f"{output}: {label}, {result.shape[1]}×{result.shape[0]} pixels")
    if preview:
        stickers.save_png(stickers.preview(result), preview, limit=float("inf"))
        click.echo(preview)


def _check_outputs(written: list[Path], read: list[Path]) -> None:
    """Raise InputError if a file to write is no PNG, or would overwrite something in use."""
    taken = {path.resolve() for path in read}
    for path in written:
        if path.suffix.lower() != ".png":
            raise InputError(f"{path} should end in .png")
        if path.resolve() in taken:
            raise InputError(f"{path} is already in use; choose another name")
        taken.add(path.resolve())


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
    from tutorial_lib.figures import animation

    if path.suffix.lower() != ".gif":
        raise InputError(f"{path} should end in .gif")
    if output_padding and not kind:
        raise InputError("--output-padding goes with --transposed or --stamping")
    if kind:
        geometry["output_padding"] = output_padding
    sliding = getattr(animation, f"{kind}_slide" if kind else "slide")(**geometry)
    animation.save_gif(sliding, path)
    click.echo(f"{path}: {sliding.description}")


@main.group()
def data() -> None:
    """List, fetch and make data sets."""


@data.command("list")
def list_data() -> None:
    """List the datasets, and say which are here."""
    from tutorial_lib.data import data_home, download

    click.echo(f"data folder: {data_home()}")
    images = {"coco": " and 20 GB of images", "coco-cats": " and about 700 MB of images"}
    for name, file in download.DATASETS.items():
        here = download.what_is_here(name, data_home())
        size = f"{file.size / 1e6:,.0f} MB{images.get(name, '')}"
        if here != "here":
            here = f"{here or 'not here; '}`tutorial data fetch {name}`, {size}"
        click.echo(f"{name:10} {file.terms} ({here})")


@data.command()
@click.argument("name")
@click.option(
    "-c", "--category", "categories", multiple=True,
    help="COCO: only images with this category; may be given several times.",
)  # fmt: skip
@click.option(
    "--split", "splits", multiple=True, default=("train", "val"),
    help="COCO: train or val; by default both.",
)  # fmt: skip
@click.option(
    "--limit", type=click.IntRange(min=0), default=0,
    help="COCO: at most so many images per split.",
)  # fmt: skip
@click.option(
    "--mirror", "mirrors", multiple=True, metavar="URL",
    help="Address of a copy of a data folder, tried first.",
)  # fmt: skip
@click.option("--workers", type=click.IntRange(1, 10), default=8, show_default=True)
def fetch(name: str, **options) -> None:
    """Download a dataset into the data folder: mnist, coco-cats, coco, voc2012, sbd.

    The command first says how much it will download. Files that are here already are kept, and
    after an interruption the same command resumes.
    """
    from tutorial_lib.data import download

    download.fetch(name, echo=click.echo, progress=sys.stderr.isatty(), **options)


folder_argument = click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
kind_argument = click.argument("kind", type=click.Choice(["coco", "voc"]))
split_option = click.option("--split", default="train", show_default=True)
category_option = click.option(
    "-c", "--category", "categories", multiple=True, default=("cat",), show_default=True,
    help="COCO: what gets the labels 1, 2, …; may be given several times.",
)  # fmt: skip
strict_option = click.option("--strict", is_flag=True, help="Stop at the first problem.")


@data.command("check")
@click.argument("kind", type=click.Choice(["coco", "voc", "records"]))
@folder_argument
@split_option
@click.option(
    "-c", "--category", "categories", multiple=True,
    help="COCO: whose masks to draw; may be given several times.  [default: all]",
)  # fmt: skip
@strict_option
def check_data(kind: str, folder: Path, split: str, categories, strict: bool) -> None:
    """Read every image and mask of a COCO or VOC tree, or records, and list what is damaged."""
    if kind == "records":
        records = _records()
        total, damage = records.count(folder), records.find_damage(folder)
    elif kind == "voc":
        from tutorial_lib.data.voc import VocTree

        tree = VocTree(folder)
        total, damage = len(tree.ids(split)), tree.check(split)
    else:
        from tutorial_lib.data.coco import CocoSplit

        tree = CocoSplit(folder, split)
        ids = tree.image_ids()
        total, damage = len(ids), itertools.chain(tree.problems, tree.check(ids, categories))
    problems = 0
    for problem in damage:
        if strict:
            raise InputError(problem)
        click.echo(problem)
        problems += 1
    click.echo(f"{total} images examined, {problems} problems")
    sys.exit(int(problems > 0))


def _records():
    """Return the module, which brings TensorFlow with it, without TensorFlow's notes."""
    from tutorial_lib import notebook

    with notebook.native_notes_silenced():
        from tutorial_lib.data import records
    return records


@data.command()
@kind_argument
@folder_argument
@click.argument("output", type=click.Path(file_okay=False, path_type=Path))
@split_option
@category_option
@strict_option
@click.option("--shards", type=click.IntRange(min=1), default=16, show_default=True)
@click.option(
    "--workers", type=click.IntRange(1, 64), show_default="one per core",
    default=lambda: min(64, os.cpu_count() or 1),
)  # fmt: skip
def convert(kind, folder, output, split, categories, strict, shards, workers) -> None:
    """Convert a COCO or VOC tree to TFRecord files in OUTPUT.

    COCO: only images with one of the categories. Damaged images are left out and listed.
    After an interruption the same command goes on.
    """
    if kind == "voc":
        from tutorial_lib.data.voc import VocTree

        tree, left_out = VocTree(folder), []
        recipes = [tree.recipe(name) for name in tree.ids(split)]
    else:
        from tutorial_lib.data.coco import CocoSplit

        tree = CocoSplit(folder, split, strict=strict)
        left_out = tree.problems
        for problem in left_out:
            click.echo(problem)
        ids = sorted(set().union(*map(tree.image_ids, categories)))
        recipes = [tree.recipe(number, categories) for number in ids]
        if not recipes:
            raise InputError(f"{tree.annotations_path} has no image with {' or '.join(categories)}")
    records = _records()
    progress = sys.stderr.isatty()
    count = records.write_records(
        recipes, output, shards, workers,
        tolerant=not strict, left_out=left_out, progress=progress,
    )  # fmt: skip
    problems = records.read_index(output)["problems"]
    for problem in problems[len(left_out) :]:
        click.echo(problem)
    click.echo(f"{count} of {len(recipes)} images converted, {len(problems)} problems")


@data.command()
def make() -> None:
    """Make the bundled scenes now, so that a class can work without a wait."""
    from tutorial_tools import bundle

    for folder in bundle.make_scenes():
        click.echo(folder)


@main.command()
def doctor() -> None:
    """Check whether this machine has what the notebooks need."""
    from tutorial_tools import doctor

    findings = doctor.examine()
    for finding in findings:
        click.echo(f"{'ok  ' if finding.good else 'BAD '} {finding.name:<12} {finding.text}")
    sys.exit(int(not all(finding.good for finding in findings)))


if __name__ == "__main__":
    main()
