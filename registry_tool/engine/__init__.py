"""A container engine: found as docker finds it, asked through docker's SDK, answering in frozen values."""

from registry_tool.engine.connect import connect, reach
from registry_tool.engine.endpoint import Endpoint
from registry_tool.engine.engine import Engine
from registry_tool.engine.values import (
    About,
    Container,
    ContainerSpec,
    Image,
    Moved,
    Network,
    PortBinding,
    RemovedImage,
    Rights,
    Volume,
)
from registry_tool.oci.descriptor import Platform

__all__ = [
    "About",
    "Container",
    "ContainerSpec",
    "Endpoint",
    "Engine",
    "Image",
    "Moved",
    "Network",
    "Platform",
    "PortBinding",
    "RemovedImage",
    "Rights",
    "Volume",
    "connect",
    "reach",
]
