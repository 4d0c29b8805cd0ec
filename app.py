"""VDU Studio: one page on which a pretrained diffusion model forgets.

python app.py [--shared] [--host ADDRESS] [--port NUMBER] [--any-model] …
"""

import argparse
import gc
import signal
import sys

gc.disable()  # nothing of what is imported here is garbage, and to look for some takes a second
from vdu.workspace import server_folder  # noqa: E402

server_folder()  # before Gradio is imported, which asks for the folder of uploads at once

from vdu.stubs import no_stubs  # noqa: E402

with no_stubs():
    from vdu.page import Settings, build, launch_options
from vdu.page.settings import SHARED, on_space  # noqa: E402

DEFAULT = Settings(**(SHARED if on_space() else {}))
demo = build(DEFAULT)  # a Space and Gradio's reload mode look for the name `demo`
gc.enable()


def read_flags() -> argparse.Namespace:
    """The flags of the command line."""
    parser = argparse.ArgumentParser(prog="python app.py", description="The page of VDU Studio.")
    parser.add_argument(
        "--any-model", action="store_true", help="for trusted visitors: allow any model from the hub or this machine"
    )
    parser.add_argument("--host", help="address to listen on; 0.0.0.0 admits other machines (default: this machine only)")
    parser.add_argument("--port", type=int, help="port to listen on (default: 7860, or the next free port)")
    shared = ", ".join(f"--{name.replace('_', '-')} {value:g}" for name, value in SHARED.items())
    parser.add_argument("--shared", action="store_true", help=f"for a server that strangers use; sets {shared}")
    bounds = (
        ("run_minutes", float, "minutes that a run may take; 0 for no bound"),
        ("runs_per_hour", int, "runs that a visitor may have per hour; 0 for no bound"),
        ("queue_length", int, "runs that may wait at once"),
        ("waiting_per_visitor", int, "runs of one visitor that may wait"),
        ("visitors_per_address", int, "runs from one network address that may wait"),
        ("memory_gb", float, "GiB of memory for finished runs; the oldest are deleted first"),
        ("disk_gb", float, "GiB of disk for runs, and as much for uploads; the oldest are deleted first"),
    )
    for name, kind, words in bounds:
        default = getattr(DEFAULT, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind, help=f"{words} (default: {default:g})")
    return parser.parse_args()


def settings_of(flags: argparse.Namespace) -> Settings:
    """The settings that the flags describe."""
    values = {
        name: value for name, value in vars(flags).items() if name in Settings.__dataclass_fields__ and value is not None
    }
    low = {"run_minutes": 0, "runs_per_hour": 0, "memory_gb": 0, "disk_gb": 0}
    for name, value in values.items():
        if name != "any_model" and not value >= low.get(name, 1):
            sys.exit(f"app.py: --{name.replace('_', '-')} must be at least {low.get(name, 1)}, not {value}.")
    return Settings(**((SHARED if flags.shared or on_space() else {}) | values))


def main() -> None:
    """Start the server; it ends, and deletes its files, when it is asked to terminate."""
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))
    flags = read_flags()
    settings = settings_of(flags)
    page = demo if settings == DEFAULT else build(settings)
    gc.disable()  # until `warm_up` is done
    page.launch(server_name=flags.host, server_port=flags.port, **launch_options(page))


if __name__ == "__main__":
    main()
