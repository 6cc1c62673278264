"""Every command: its path, where it lives, a line of help. Nothing is imported until it is called."""

from __future__ import annotations

# path -> (module below sampan.cli, attribute, one line of help)
COMMANDS: dict[str, tuple[str, str, str]] = {
    "attach": ("attaching", "attach", "Attach to a running container's streams"),
    "commit": ("archiving", "commit", "Create a new image from a container's changes"),
    "cp": ("copying", "cp", "Copy files/folders between a container and the local filesystem"),
    "__complete": ("completing", "complete", ""),
    "completion": ("completing", "completion", "Print the completion script for a shell"),
    "build": ("building", "build", "Build an image from a Dockerfile"),
    "create": ("running", "create", "Create a new container"),
    "diff": ("archiving", "diff", "Inspect changes to files or directories on a container's filesystem"),
    "events": ("system", "events", "Get events from the daemon as they happen"),
    "exec": ("attaching", "exec_", "Execute a command in a running container"),
    "export": ("archiving", "export", "Export a container's filesystem as a tar archive"),
    "history": ("images", "history", "Show the history of an image"),
    "images": ("images", "list_", "List images"),
    "import": ("importing", "import_", "Import the contents of a tarball to make an image"),
    "info": ("info", "info", "Display system-wide information"),
    "inspect": ("inspecting", "inspect", "Return low-level information on objects"),
    "kill": ("containers", "kill", "Kill one or more running containers"),
    "load": ("archiving", "load", "Load an image from a tar archive or STDIN"),
    "login": ("login", "login", "Authenticate to a registry"),
    "logout": ("login", "logout", "Log out from a registry"),
    "logs": ("logs", "logs", "Fetch the logs of a container"),
    "pause": ("containers", "pause", "Pause all processes within one or more containers"),
    "port": ("containers", "port", "List port mappings or a specific mapping for the container"),
    "ps": ("ps", "ps", "List containers"),
    "pull": ("transfers", "pull", "Download an image from a registry"),
    "push": ("transfers", "push", "Upload an image to a registry"),
    "rename": ("containers", "rename", "Rename a container"),
    "restart": ("containers", "restart", "Restart one or more containers"),
    "rm": ("containers", "rm", "Remove one or more containers"),
    "rmi": ("images", "rmi", "Remove one or more images"),
    "run": ("running", "run", "Create and run a new container from an image"),
    "save": ("archiving", "save", "Save one or more images to a tar archive (streamed to STDOUT by default)"),
    "search": ("search", "search", "Search a registry for images"),
    "start": ("attaching", "start", "Start one or more stopped containers"),
    "stats": ("stats", "stats", "Display a live stream of container(s) resource usage statistics"),
    "stop": ("containers", "stop", "Stop one or more running containers"),
    "tag": ("images", "tag", "Give an image one more name"),
    "top": ("containers", "top", "Display the running processes of a container"),
    "unpause": ("containers", "unpause", "Unpause all processes within one or more containers"),
    "update": ("updating", "update", "Update configuration of one or more containers"),
    "version": ("version", "version", "Show the versions of client and daemon"),
    "wait": ("containers", "wait", "Block until one or more containers stop, then print their exit codes"),
    "container inspect": ("inspecting", "inspect_container", "Display detailed information on one or more containers"),
    "container prune": ("pruning", "containers", "Remove all stopped containers"),
    "context create": ("context", "create", "Create a context"),
    "context export": ("context", "export", "Export a context to a tar archive FILE or a tar stream on STDOUT"),
    "context import": ("context", "import_", "Import a context from a tar or zip file"),
    "context inspect": ("context", "inspect", "Display detailed information on one or more contexts"),
    "context ls": ("context", "list_", "List contexts"),
    "context rm": ("context", "remove", "Remove one or more contexts"),
    "context show": ("context", "show", "Print the name of the current context"),
    "context update": ("context", "update", "Update a context"),
    "context use": ("context", "use", "Set the current context"),
    "image inspect": ("inspecting", "inspect_image", "Display detailed information on one or more images"),
    "image prune": ("pruning", "images", "Remove unused images"),
    "man": ("manuals", "man", "Write the manual pages"),
    "network connect": ("networks", "connect", "Connect a container to a network"),
    "network create": ("networks", "create", "Create a network"),
    "network disconnect": ("networks", "disconnect", "Disconnect a container from a network"),
    "network inspect": ("networks", "inspect", "Display detailed information on one or more networks"),
    "network ls": ("networks", "list_", "List networks"),
    "network prune": ("pruning", "networks", "Remove all unused networks"),
    "network rm": ("networks", "remove", "Remove one or more networks"),
    "builder prune": ("pruning", "builds", "Remove build cache"),
    "system df": ("disk", "df", "Show disk usage"),
    "system dial-stdio": ("dialing", "dial_stdio", "Connect standard input and output to the daemon"),
    "system prune": ("pruning", "unused", "Remove unused data"),
    "volume create": ("volumes", "create", "Create a volume"),
    "volume inspect": ("volumes", "inspect", "Display detailed information on one or more volumes"),
    "volume ls": ("volumes", "list_", "List volumes"),
    "volume prune": ("pruning", "volumes", "Remove unused local volumes"),
    "volume rm": ("volumes", "remove", "Remove one or more volumes"),
}

GROUPS: dict[str, str] = {
    "builder": "Manage builds",
    "container": "Manage containers",
    "context": "Manage contexts",
    "image": "Manage images",
    "network": "Manage networks",
    "system": "Manage the engine",
    "volume": "Manage volumes",
}

# Docker's newer names of commands that stand at the top too.
_IN_GROUPS = {
    "container": (
        "attach commit cp create diff exec export kill logs pause port rename restart rm run start stats stop top "
        "unpause update wait"
    ),
    "image": "build history import load pull push save tag",
    "builder": "build",
    "system": "events info",
}
_RENAMED = {"container ls": "ps", "image ls": "images", "image rm": "rmi"}
for _group, _names in _IN_GROUPS.items():
    COMMANDS |= {f"{_group} {name}": COMMANDS[name] for name in _names.split() if _group in GROUPS and name in COMMANDS}
COMMANDS |= {path: COMMANDS[name] for path, name in _RENAMED.items()}

# Spellings that are read but not listed.
ALIASES: dict[str, str] = {
    "container list": "container ls",
    "container ps": "container ls",
    "container remove": "container rm",
    "context list": "context ls",
    "context remove": "context rm",
    "image list": "image ls",
    "image remove": "image rm",
    "network list": "network ls",
    "network remove": "network rm",
    "volume list": "volume ls",
    "volume remove": "volume rm",
}

COMMON = ("run", "exec", "ps", "build", "pull", "push", "images", "login", "logout", "search", "version", "info")


def spellings(path: str) -> list[str]:
    """All paths that mean this command, the grouped ones first."""
    found = [other for other in COMMANDS if COMMANDS[other][:2] == COMMANDS[path][:2]]
    found += [alias for alias, other in ALIASES.items() if other in found]
    return sorted(found, key=lambda other: (" " not in other, other in ALIASES, other))


def members(group: str) -> dict[str, str]:
    """A group's commands with their lines, sorted."""
    paths = sorted(path for path in COMMANDS if path.startswith(f"{group} "))
    return {path.partition(" ")[2]: COMMANDS[path][2] for path in paths}


def sections() -> dict[str, dict[str, str]]:
    """What the program's help lists, in Docker's order."""
    own = {path: entry[2] for path, entry in sorted(COMMANDS.items()) if " " not in path and entry[2]}
    own["daemon"] = "Run the daemon (its options: sampan daemon --help)"
    return {
        "Common Commands": {name: own.pop(name) for name in COMMON if name in own},
        "Management Commands": dict(sorted(GROUPS.items())),
        "Commands": dict(sorted(own.items())),
    }
