"""The labels by which this tool finds its own things again on an engine. One place for their names."""

from __future__ import annotations

PREFIX = "io.registry-tool"

ROLE = f"{PREFIX}.role"
"""What a thing is: one of the ROLE_ values. Whatever carries it is ours; whatever does not is never touched."""

ROLE_REGISTRY = "registry"
"""A registry container or its volume."""
ROLE_BASE = "base"
"""A base image that was built here from distribution packages."""
ROLE_APP = "app"
"""An image that ``build`` or ``demo`` made."""
ROLE_RUN = "run"
"""A container that ``run`` started."""
ROLE_DEMO = "demo"
"""A container or network of a demo."""
ROLE_PROBE = "probe"
"""A short-lived container that looks at something and goes."""
ROLE_PROOF = "proof"
"""What a proof makes: a clean engine's container, its forwarder and network, and what is made inside."""

REGISTRY = f"{PREFIX}.registry"
"""A registry's name (``default``), on its container and volume, and on what looks into that."""

DEMO = f"{PREFIX}.demo"
"""The id of the demo run that made this: on its image, containers and networks. It begins with whose run it is.

The only label on a demo's image: to the classic builder each label is a step of its own, and a step takes its time.
"""

PROOF = f"{PREFIX}.proof"
"""The id of the proof that made this; it begins with whose run it is."""

USER = f"{PREFIX}.user"
"""On a registry's container: who may use it, where it wants a password."""

PACKAGES = f"{PREFIX}.packages"
"""On a base image: the packages and versions it was built from."""

BASE = f"{PREFIX}.base"
"""On a base image that was built here: its part (``registry``, ``python``, ``redis``)."""
