"""HybridPackager: several packagers side by side, each in a folder of the package or at its top."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hpcflow.errors import ConfigError
from hpcflow.launch.packagers.base import Chosen, Packager


@dataclass(frozen=True)
class HybridPackager(Packager):
    """Folder of the package ("" for its top) -> packager, or (packager, folder to pack).

    HybridPackager({"": GitArchivePackager(), "shared": (PatternPackager(), "/project/shared")})
    """

    parts: Mapping[str, Packager | tuple[Packager, str]]

    def choose(self, root: Path) -> tuple[list[Chosen], list[str]]:
        chosen: dict[PurePosixPath, Chosen] = {}
        notes: list[str] = []
        for folder, part in self.parts.items():
            packager, where = part if isinstance(part, tuple) else (part, str(root))
            files, told = packager.choose(Path(where).absolute())
            notes += [f"{folder or '.'}: {note}" for note in told]
            for file in files:
                placed = Chosen(PurePosixPath(folder) / file.path, file.source, file.named)
                if placed.path in chosen and chosen[placed.path].source != placed.source:
                    raise ConfigError(f"{placed.path} would come from {chosen[placed.path].source} and from {placed.source}: give one its own folder")
                chosen[placed.path] = placed
        return list(chosen.values()), notes
