"""HybridPackager: several packagers side by side, each in a folder of the package or at its top."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from hpcflow.errors import ConfigError
from hpcflow.launch.checked import at_least, checked
from hpcflow.launch.packagers.base import DEFAULT_LIMIT_MB, Chosen, Packager


@checked
@dataclass(frozen=True)
class HybridPackager(Packager):
    """Folder of the package ("" for its top) -> packager, or (packager, folder to pack).

    HybridPackager({"": GitArchivePackager(), "shared": (PatternPackager(), "/project/shared")})

    limit_mb: more than that, of all parts together, is refused
    """

    parts: Mapping[str, Packager | tuple[Packager, str]]
    limit_mb: int = DEFAULT_LIMIT_MB

    def __post_init__(self) -> None:
        at_least(self, 1, "limit_mb")
        if not self.parts:
            raise ConfigError('HybridPackager.parts is empty: give folders of the package, such as {"": GitArchivePackager()}')
        for folder in self.parts:
            if folder.startswith("/") or ".." in PurePosixPath(folder).parts:
                raise ConfigError(f"HybridPackager.parts: {folder!r} leads out of the package: give a folder within it, or '' for its top")

    def base(self, root: Path) -> Path:
        """That of the part at the top."""
        packager, where = self._part(self.parts[""], root) if "" in self.parts else (None, root)
        return root if packager is None else packager.base(where)

    @staticmethod
    def _part(part: Packager | tuple[Packager, str], root: Path) -> tuple[Packager, Path]:
        return (part[0], Path(part[1]).absolute()) if isinstance(part, tuple) else (part, root.absolute())

    def choose(self, root: Path) -> tuple[list[Chosen], list[str]]:
        chosen: dict[PurePosixPath, Chosen] = {}
        notes: list[str] = []
        for folder, part in self.parts.items():
            packager, where = self._part(part, root)
            files, told = packager.choose(where)
            notes += [f"{folder or '.'}: {note}" for note in told]
            for file in files:
                placed = Chosen(PurePosixPath(folder) / file.path, file.source, file.named)
                if placed.path in chosen and chosen[placed.path].source != placed.source:
                    raise ConfigError(f"{placed.path} would come from {chosen[placed.path].source} and from {placed.source}: give one its own folder")
                chosen[placed.path] = placed
        return list(chosen.values()), notes
