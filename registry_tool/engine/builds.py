"""The engine's builder, whose modules are imported when something is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from registry_tool.base.progress import SILENT, Observer
from registry_tool.engine.images import Images

if TYPE_CHECKING:
    from registry_tool.engine.build.source import DockerfileSource


class Builds(Images):
    """The engine's builder. A part of :class:`~registry_tool.engine.engine.Engine`."""

    def build(
        self,
        context: Path | None,
        *,
        tags: Sequence[str] = (),
        dockerfile: DockerfileSource | None = None,
        build_args: Mapping[str, str] = {},
        labels: Mapping[str, str] = {},
        target: str | None = None,
        no_cache: bool = False,
        pull: bool = False,
        platform: str | None = None,
        extra: Mapping[str, Path] = {},
        observer: Observer = SILENT,
    ) -> str:
        """Build ``context`` and give the image ``tags``; returns its id.

        Without a context there is a ``dockerfile``, by default the context's own. ``extra`` adds files or folders from elsewhere (path
        inside the context -> path on disk) without writing into the context. Raises BuildFailed; ``excerpt`` is the end of the output.
        """
        # Few commands build.
        from registry_tool.engine.build.buildkit import BuildOptions  # noqa: PLC0415
        from registry_tool.engine.build.classic import build_image  # noqa: PLC0415
        from registry_tool.engine.build.source import DockerfileSource  # noqa: PLC0415

        source = dockerfile or DockerfileSource.on_disk(context or Path())
        options = BuildOptions(
            dockerfile=source.inside,
            tags=tuple(tags),
            build_args=build_args,
            labels=labels,
            target=target,
            no_cache=no_cache,
            pull=pull,
            platform=platform,
        )
        return build_image(self._client, self, context, source, options, extra=extra, observer=observer)
