"""`container …` and `image …`: the same commands under docker's newer names."""

from __future__ import annotations

import click

from sampan.cli import attaching, containers, images, inspecting, running

SETTINGS = {"help_option_names": ["--help", "-h"]}


@click.group(context_settings=SETTINGS)
def container() -> None:
    """Manage containers."""


@click.group(context_settings=SETTINGS)
def image() -> None:
    """Manage images."""


@container.command("inspect", context_settings=SETTINGS)
@click.option("--format", "-f", "form", default="", help="json or a template")
@click.option("--size", "-s", is_flag=True, help="Show file sizes")
@click.argument("names", nargs=-1, required=True)
def inspect_container(names: tuple[str, ...], *, form: str, size: bool) -> int:
    """Display detailed information on containers."""
    return inspecting.show(names, form, [inspecting.CONTAINER], size=size)


@image.command("inspect", context_settings=SETTINGS)
@click.option("--format", "-f", "form", default="", help="json or a template")
@click.argument("names", nargs=-1, required=True)
def inspect_image(names: tuple[str, ...], *, form: str) -> int:
    """Display detailed information on images."""
    return inspecting.show(names, form, [inspecting.IMAGE])


for _name, _command in {
    "attach": attaching.attach,
    "create": running.create,
    "exec": attaching.exec_,
    "kill": containers.kill,
    "logs": attaching.logs,
    "ls": containers.ps,
    "pause": containers.pause,
    "port": containers.port,
    "prune": containers.prune,
    "rename": containers.rename,
    "restart": containers.restart,
    "rm": containers.rm,
    "run": running.run,
    "start": attaching.start,
    "stop": containers.stop,
    "top": containers.top,
    "unpause": containers.unpause,
    "wait": containers.wait,
}.items():
    container.add_command(_command, _name)

for _name, _command in {
    "history": images.history,
    "import": images.import_,
    "ls": images.list_,
    "prune": images.prune,
    "pull": images.pull,
    "push": images.push,
    "rm": images.rmi,
    "tag": images.tag,
}.items():
    image.add_command(_command, _name)
