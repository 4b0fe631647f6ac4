"""The central bundle on this host: verified, never older than before, kept for the next start."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import structlog

from rules.bundle import Bundle, BundleError, Sealed, from_file, public_key, to_file, unseal

log = structlog.get_logger(__name__)

FOLDER = "central-rules"
CURRENT = "current.bundle"
HIGHEST = "highest-version"


class Central:
    """Files below ``state_dir``. For one thread. Raises BundleError for an unusable public key."""

    def __init__(self, key_file: Path, state_dir: Path) -> None:
        try:
            self._key = public_key(key_file.read_bytes())
        except OSError as error:
            raise BundleError(f"{key_file}: {error.strerror}") from None
        except BundleError as error:
            raise BundleError(f"{key_file}: {error}") from None
        self._folder = state_dir / FOLDER
        state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder.mkdir(exist_ok=True, mode=0o700)
        self.sealed: Sealed | None = None
        self.bundle: Bundle | None = None
        self.problem = ""
        """Why what was kept from an earlier run is not used."""
        self._restore()

    @property
    def version(self) -> int:
        return self.bundle.version if self.bundle else 0

    def verified(self, sealed: Sealed) -> Bundle:
        """Raises BundleError for a wrong signature and for what would be a step back."""
        bundle = unseal(sealed, self._key)
        highest = self._highest()
        if bundle.version < highest:
            raise BundleError(f"version {bundle.version} is older than {highest}, in force before")
        if bundle.version == self.version and bundle != self.bundle:
            raise BundleError(f"another bundle with version {bundle.version} is in force")
        return bundle

    def unpacked(self, bundle: Bundle | None) -> list[Path]:
        """Its files, written where they are not yet as in the bundle. Raises OSError."""
        if bundle is None:
            return []
        folder = self._folder / str(bundle.version)
        folder.mkdir(exist_ok=True, mode=0o700)
        for name, data in bundle.files.items():
            file = folder / name
            if not file.exists() or file.read_bytes() != data:
                _write(file, data)
        return [folder / name for name in sorted(bundle.files)]

    def keep(self, sealed: Sealed, bundle: Bundle) -> None:
        """From now on this one is in force, also after a restart. Raises OSError."""
        _write(self._folder / HIGHEST, str(max(bundle.version, self._highest())).encode())
        _write(self._folder / CURRENT, to_file(sealed))
        self.sealed, self.bundle, self.problem = sealed, bundle, ""
        self._clean(bundle.version)

    def _restore(self) -> None:
        try:
            sealed = from_file((self._folder / CURRENT).read_bytes())
            self.bundle, self.sealed = self.verified(sealed), sealed
        except FileNotFoundError:
            return
        except (BundleError, OSError) as error:
            self.problem = f"the bundle kept on this host is not used: {error}"

    def _highest(self) -> int:
        """A number that cannot be read is no reason to go back: then nothing is taken."""
        try:
            return int((self._folder / HIGHEST).read_text())
        except FileNotFoundError:
            return 0
        except (OSError, ValueError) as error:
            raise BundleError(f"{self._folder / HIGHEST}: {error}") from None

    def _clean(self, version: int) -> None:
        for each in self._folder.iterdir():
            if each.is_dir() and each.name != str(version):
                shutil.rmtree(each, ignore_errors=True)


def _write(file: Path, data: bytes) -> None:
    """Whole or not at all, also when the power fails."""
    part = file.with_name(f".{file.name}.part")
    with part.open("wb") as out:
        out.write(data)
        out.flush()
        os.fsync(out.fileno())
    part.replace(file)
    folder = os.open(file.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
