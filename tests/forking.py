"""Scripts in a fork of this process, which has imported already what takes seconds."""

import os
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import NoReturn

from conftest import in_thread

ROOT = Path(__file__).resolve().parents[1]
LONGEST = 300  # seconds, on a busy machine


def python(code: str, *arguments: object, cwd: Path = ROOT, **environment: str) -> subprocess.CompletedProcess[str]:
    """What `python -c CODE ARGUMENTS` does in a folder, where nothing of this checkout is imported yet.

    It runs in a fork, or in a new process where there are no forks, or where this one has used a GPU.
    """
    command = [sys.executable, "-c", code, *map(str, arguments)]
    torch = sys.modules.get("torch")
    if not hasattr(os, "fork") or (torch and torch.cuda.is_initialized()):
        return subprocess.run(
            command, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=LONGEST, check=False
        )
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        files = {1: out, 2: err}
        # In a thread, for a fork of the main one would inherit the event loop of a browser.
        status = in_thread(lambda: wait_for_fork(lambda: script(code, command[2:], cwd, environment, files)))
        for file in files.values():
            file.seek(0)
        return subprocess.CompletedProcess(command, status, *(file.read().decode() for file in files.values()))


def wait_for_fork(function) -> int:
    """Call a function that does not return in a fork; the exit status of that."""
    process = os.fork()
    if not process:
        function()
    until = time.monotonic() + LONGEST
    while not (ended := os.waitpid(process, os.WNOHANG))[0]:
        if time.monotonic() > until:
            os.kill(process, 9)
        time.sleep(0.02)
    return os.waitstatus_to_exitcode(ended[1])


def script(code, arguments, cwd, environment, files) -> NoReturn:
    """Run code as a process of its own would, and end this one."""
    status = 1
    try:
        for number, file in files.items():
            os.dup2(file.fileno(), number)
        sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in files)
        ours = [name for name, module in sys.modules.items() if is_ours(getattr(module, "__file__", None))]
        for name in ours:
            del sys.modules[name]
        os.environ |= environment
        os.chdir(cwd)
        sys.argv, sys.path[:0] = ["-c", *arguments[1:]], [""]
        exec(code, {"__name__": "__main__"})
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
        if status and not isinstance(end.code, int):
            print(end.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def is_ours(file) -> bool:
    """Whether a module's file belongs to this checkout, not to the libraries in it."""
    return file is not None and Path(file).is_relative_to(ROOT) and "site-packages" not in file
