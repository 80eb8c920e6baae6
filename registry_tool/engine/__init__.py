"""A container engine: found as docker finds it, driven by docker's SDK, its objects as frozen values."""

from typing import TYPE_CHECKING

from registry_tool.base.deferred import deferred
from registry_tool.engine.connect import connect, connect_to
from registry_tool.engine.endpoint import Endpoint
from registry_tool.engine.engine import Engine
from registry_tool.engine.values import (
    Container,
    EngineInfo,
    Image,
    Network,
    PortBinding,
    Privileges,
    TransferResult,
    Volume,
)
from registry_tool.oci.descriptor import Platform

if TYPE_CHECKING:
    from registry_tool.engine.engine_setup import EngineSetup
    from registry_tool.engine.specs import ContainerSpec, ExecSpec, Mount
else:
    # Who looks at what an engine has creates nothing in it.
    _SPECS = dict.fromkeys(("ContainerSpec", "ExecSpec", "Mount"), f"{__name__}.specs")
    __getattr__ = deferred(__name__, {"EngineSetup": f"{__name__}.engine_setup", **_SPECS})

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
