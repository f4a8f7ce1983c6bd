"""The command line: one file a command, each of which parses, calls and prints."""

from __future__ import annotations

import gc
import os
import sys
from contextlib import suppress

import click

from anomalyvfm.cli import (
    backup,
    compare,
    demo,
    doctor,
    evaluate,
    export,
    fit,
    generate,
    info,
    learning,
    predict,
    rank,
    serve,
    stores,
    submit,
    synthesize,
    watch,
)
from anomalyvfm.cli.allocator import share_freed_memory
from anomalyvfm.cli.errors import OneLineErrors
from anomalyvfm.version import __version__


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="anomalyvfm")
def main() -> None:
    """Learn good parts from good images alone; find and outline defects never seen."""
    share_freed_memory()
    # Modules alone make two hundred thousand objects, and looking through them for cycles takes a third of a
    # second while they load. What is freed by its last reference is freed as before.
    gc.set_threshold(100_000)
    # Cores take images of their own. Numpy, which is not loaded yet, need not split its small products: where
    # the cores are busy each part waits for one.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


for command in (
    fit.fit,
    learning.update,
    learning.forget,
    learning.calibrate,
    predict.predict,
    rank.rank,
    watch.watch,
    serve.serve,
    backup.backup,
    backup.restore,
    evaluate.evaluate,
    compare.compare,
    submit.submit,
    export.export,
    stores.push,
    stores.pull,
    generate.generate,
    synthesize.synthesize,
    info.info,
    doctor.doctor,
    demo.demo,
):
    main.add_command(command)


def run() -> None:
    """The command as a process, which is gone as soon as its work is done.

    Python would first take down all that is loaded, piece by piece: of torch's operators alone that takes
    0.4 s. The system takes it at once.
    """
    try:
        status = main()
    except SystemExit as stopped:
        status = stopped.code
    for stream in (sys.stdout, sys.stderr):
        with suppress(AttributeError, OSError, ValueError):  # closed, or nobody reads it any more
            stream.flush()
    os._exit(status if isinstance(status, int) else int(status is not None))
