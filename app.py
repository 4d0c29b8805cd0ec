"""VDU Studio: one page on which a pretrained diffusion model forgets.

python app.py [--any-model] [--host ADDRESS] [--port NUMBER]
"""

import argparse

from vdu.page import Settings, build, launch_options

demo = build(Settings())  # a Space and Gradio's reload mode look for the name `demo`


def read_flags() -> argparse.Namespace:
    """The flags of the command line."""
    parser = argparse.ArgumentParser(prog="python app.py", description="The page of VDU Studio.")
    parser.add_argument(
        "--any-model", action="store_true", help="for trusted visitors: allow any model from the hub or this machine"
    )
    parser.add_argument("--host", help="address to listen on; 0.0.0.0 admits other machines (default: this machine only)")
    parser.add_argument("--port", type=int, help="port to listen on (default: 7860, or the next free port)")
    return parser.parse_args()


def main() -> None:
    """Start the server."""
    flags = read_flags()
    settings = Settings(any_model=flags.any_model)
    page = build(settings) if flags.any_model else demo
    page.launch(server_name=flags.host, server_port=flags.port, **launch_options(settings))


if __name__ == "__main__":
    main()
