"""The two trees that are compared: a revision, in a worktree of its own, and the present one as it is."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from vdu.errors import UserError

ROOT = Path(__file__).resolve().parents[3]
CLONE = "clone the repository, and run this there"


@dataclass(frozen=True)
class Tree:
    """A build: its short hash, with a remark if files were changed since, and the folder of its files."""

    name: str
    folder: Path


def git(root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run git in a folder.

    Raises:
        UserError: if git is not installed.
    """
    try:
        return subprocess.run(["git", "-C", str(root), *words], capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise UserError("The older revision is read with git, which was not found; install git and try again.") from error


@contextmanager
def both_trees(revision: str, root: Path) -> Iterator[tuple[Tree, Tree]]:
    """The tree of a revision, which lasts as long as a `with` block, and the present one.

    Args:
        revision: as git names it; root: of the checkout.

    Raises:
        UserError: if there is no git, no checkout at `root`, or no such revision.
    """
    top = git(root, "rev-parse", "--show-toplevel").stdout.strip()
    if not top or Path(top).resolve() != root.resolve():
        raise UserError(f"This package lies in no checkout of git, so there is no older revision to compare with; {CLONE}.")
    commit = git(root, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}").stdout.strip()
    if not commit:
        raise UserError(f"There is no revision '{revision}' in this repository; choose one that `git log` lists, or fetch it.")
    present = git(root, "describe", "--always", "--dirty= with changes", "--exclude=*").stdout.strip()
    with tempfile.TemporaryDirectory(prefix="vdu-speed-") as work:
        folder = Path(work) / "tree"
        try:
            made = git(root, "worktree", "add", "--detach", str(folder), commit)
            if made.returncode:
                raise UserError(f"git made no worktree of '{revision}'; it said: {last_words(made.stderr)}")
            yield Tree(git(root, "rev-parse", "--short", commit).stdout.strip(), folder), Tree(present, root)
        finally:
            # Twice --force also removes one that was interrupted while it was made, which git keeps locked.
            git(root, "worktree", "remove", "--force", "--force", str(folder))


def last_words(text: str) -> str:
    """The last line of what a process printed."""
    return (text.strip().splitlines() or ["nothing"])[-1]


def environment(work: Path) -> dict[str, str]:
    """The environment of a measured process, which finds nothing that an earlier one has cached.

    Args:
        work: an empty folder, for its temporary files and its cache.
    """
    for name in ("tmp", "cache"):
        (work / name).mkdir()
    # Gradio puts uploads where this says; with a safe path, Python would not import from the folder that it runs in.
    kept = {name: value for name, value in os.environ.items() if name not in ("GRADIO_TEMP_DIR", "PYTHONSAFEPATH")}
    settings = {"HF_HUB_OFFLINE": "1", "GRADIO_ANALYTICS_ENABLED": "False"}
    return kept | settings | {"TMPDIR": str(work / "tmp"), "VDU_CACHE": str(work / "cache")}


def check_imports(trees: Sequence[Tree]) -> None:
    """Make sure that a process which runs in a tree also runs its code, and not that of an installed package.

    Raises:
        UserError: if Python finds the package elsewhere, or nowhere.
    """
    for tree in trees:
        with tempfile.TemporaryDirectory() as work:
            found = subprocess.run(
                [sys.executable, "-c", "import vdu; print(vdu.__file__)"],
                cwd=tree.folder, env=environment(Path(work)), capture_output=True, text=True, check=False,
            ).stdout.strip()  # fmt: skip
        if not found or Path(found).resolve().parents[1] != tree.folder.resolve():
            raise UserError(
                f"In the tree of {tree.name} Python imports vdu from {found or 'nowhere'}; "
                "choose a revision that has the package, and leave PYTHONPATH empty."
            )
