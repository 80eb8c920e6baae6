"""A container engine: found as docker finds it, driven by docker's SDK, its objects as frozen values."""

from registry_tool.engine.connect import connect, connect_to
from registry_tool.engine.endpoint import Endpoint
from registry_tool.engine.engine import Engine
from registry_tool.engine.values import (
    Container,
    ContainerSpec,
    EngineInfo,
    EngineSetup,
    ExecSpec,
    Image,
    Mount,
    Network,
    PortBinding,
    Privileges,
    TransferResult,
    Volume,
)
from registry_tool.oci.descriptor import Platform

__all__ = [
    "Container",
    "ContainerSpec",
    "Endpoint",
    "Engine",
    "EngineInfo",
    "EngineSetup",
    "ExecSpec",
    "Image",
    "Mount",
    "Network",
    "Platform",
    "PortBinding",
    "Privileges",
    "TransferResult",
    "Volume",
    "connect",
    "connect_to",
]
