"""The labels by which this tool recognises its own things on an engine."""

from __future__ import annotations

PREFIX = "io.registry-tool"

ROLE = f"{PREFIX}.role"
"""One of the ROLE_ values. What carries this label is this tool's; nothing else is ever touched."""

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
"""A short-lived container that inspects something."""
ROLE_VERIFY = "proof"
"""A thing of a verification: a clean engine's container, its forwarder and network, and what is made inside."""
ROLE_COLLECTION = "collection"
"""A container of a garbage collection: the read-only stand-in of a registry, or the worker on its volume."""

REGISTRY = f"{PREFIX}.registry"
"""A registry's name (``default``), on its container and volume, and on what inspects that."""

DEMO = f"{PREFIX}.demo"
"""The id of a demo's run, on its image, containers and networks; it begins with the owner's id.

The only label on a demo's image: to the classic builder each label is a step of its own, which takes time.
"""

VERIFY = f"{PREFIX}.proof"
"""The id of a verification's run; it begins with the owner's id."""

COLLECTION = f"{PREFIX}.collection"
"""The id of a garbage collection's run; it begins with the owner's id."""

COLLECTION_PART = f"{PREFIX}.part"
"""On the containers of a garbage collection: ``stand-in`` or ``worker``."""

COLLECTED = f"{PREFIX}.collected"
"""On the containers of a garbage collection: the id of the registry's container."""

COLLECTED_RESTART = f"{PREFIX}.restart"
"""On the containers of a garbage collection: ``true`` where the registry's container has to run in the end."""

PROXY = f"{PREFIX}.proxy"
"""On a registry's container: the URL of its upstream, where it is a pull-through proxy."""

UPSTREAM = f"{PREFIX}.upstream"
"""On the network of a proxy whose upstream is a local registry, too: that registry's name."""

USER = f"{PREFIX}.user"
"""On a registry's container: the user, where it requires a password."""

TLS = f"{PREFIX}.tls"
"""On a registry's container: where the certificate comes from, if it speaks TLS (``ca``, ``files``)."""

PACKAGES = f"{PREFIX}.packages"
"""On a base image: the packages and versions it was made from."""

BASE = f"{PREFIX}.base"
"""On a base image that was made here: its role (``registry``, ``python``, ``redis``)."""
