"""Pictures of items: decoded with care, kept by content hash."""

import hashlib
import os
import re
import struct
import threading
import zlib
from collections.abc import Collection
from io import BytesIO
from pathlib import Path

import psutil
from PIL import Image, ImageOps

from mllm_srec.store.errors import BadPicture, StoreError
from mllm_srec.store.files import alone_in, disk_errors, owner_only, private_folder

MAX_SIDE = 512
"""Longest side of a stored picture, pixels."""

MAX_PIXELS = 64_000_000
"""A picture whose header announces more is refused before it is decoded."""

MAX_BYTES = 32 * 1024 * 1024
"""Largest picture file that is read."""

_KEY = re.compile(r"[0-9a-f]{64}")

_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")

# Facts of the header that neither change how a picture looks here nor tell of a person.
_HARMLESS = {
    "jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "gamma", "srgb", "chromaticity",
    "progressive", "progression", "adobe", "adobe_transform", "icc_profile", "interlace",
}  # fmt: skip

# What Pillow raises on files that are not what their header says.
_UNREADABLE = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    IndexError,
    KeyError,
    OverflowError,
    ZeroDivisionError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)


def open_picture(source: bytes | Path) -> Image.Image:
    """Decode a picture: first frame, upright, RGB, what is transparent on white.

    Args:
        source: A JPEG, PNG, WebP, GIF or BMP; its name may say otherwise.

    Raises:
        BadPicture: It is none of these, is broken or cut off, or is too large.
    """
    content = source if isinstance(source, bytes) else read_picture(source)
    image = _open(content)
    try:
        image.load()
        return _rgb(ImageOps.exif_transpose(image))
    except _UNREADABLE as error:
        raise BadPicture(f"broken or cut off ({error})") from error
    except MemoryError as error:
        raise BadPicture(f"{image.width} x {image.height} pixels do not fit in memory") from error


class PictureStore:
    """Pictures under their SHA-256, `ab/ab12...`, at most `MAX_SIDE` pixels a side.

    Who gave one is marked by an empty file of its name, in a folder of the giver.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._partial = private_folder(folder / "partial")
        self._givers = folder / "givers"

    def add(self, content: bytes, *, giver: str | None = None) -> str:
        """Keep a picture.

        Small RGB pictures without metadata are kept as they are, others as a JPEG.

        Args:
            content: A picture's file.
            giver: The user whose own picture it is, see `forget`.

        Returns:
            The SHA-256 of `content`; the same picture is kept once.

        Raises:
            BadPicture: The picture is refused.
            StoreError: The disk is full.
        """
        key = hashlib.sha256(content).hexdigest()
        path = self._path(key)
        kept = None if path.exists() else _canonical(content)
        # Not the lock of the home: who talks may show a picture while another process ingests.
        with disk_errors(path), alone_in(self._folder):
            if giver is not None:
                # First: a picture that nobody gave would stay for ever.
                mine = private_folder(private_folder(self._givers) / _folder_of(giver))
                (mine / key).touch(0o600)
            if not path.exists():
                # It was here, and another process has just forgotten it.
                self._write(path, _canonical(content) if kept is None else kept)
        return key

    def _write(self, path: Path, kept: bytes) -> None:
        # Written aside and moved: a killed process leaves no half picture under a key.
        partial = self._partial / f"{path.name}.{os.getpid()}.{threading.get_ident()}"
        private_folder(path.parent)
        try:
            with open(partial, "wb", opener=owner_only) as file:
                file.write(kept)
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise

    def __contains__(self, key: str) -> bool:
        return _KEY.fullmatch(key) is not None and self._path(key).exists()

    def load(self, key: str) -> Image.Image:
        """A kept picture as RGB.

        Raises:
            StoreError: There is none of that key, or its file was damaged.
        """
        try:
            return open_picture(self._path(key).read_bytes())
        except FileNotFoundError as error:
            raise StoreError(f"no picture {key!r} is kept: run `srec ingest` again") from error
        except BadPicture as error:
            raise StoreError(
                f"the kept picture {key!r} was damaged ({error}): delete "
                f"{str(self._path(key))!r} and run `srec ingest` again"
            ) from error

    def thumbnail(self, key: str, side: int) -> Image.Image:
        """A kept picture, made smaller where its longest side exceeds `side` pixels."""
        image = self.load(key)
        image.thumbnail((side, side))
        return image

    def delete(self, key: str) -> None:
        """Delete a picture, if it is there."""
        self._path(key).unlink(missing_ok=True)

    def given_by(self, user: str) -> set[str]:
        """The keys of the pictures that a user gave."""
        folder = self._givers / _folder_of(user)
        return {path.name for path in folder.iterdir()} if folder.exists() else set()

    def forget(self, user: str, *, keep: Collection[str] = ()) -> None:
        """Delete the pictures that a user gave, but for those that another user gave, too.

        Args:
            user: Who gave them.
            keep: Keys of pictures that are needed otherwise.
        """
        mine = self._givers / _folder_of(user)
        # A picture that another user gives at this moment stays.
        with alone_in(self._folder):
            for key in self.given_by(user):
                others = (path for path in self._givers.glob(f"*/{key}") if path.parent != mine)
                if key not in keep and not any(others):
                    self.delete(key)
                (mine / key).unlink()
            if mine.exists():
                mine.rmdir()

    def sweep(self) -> None:
        """Remove what killed processes left half written."""
        for path in self._partial.iterdir():
            # A chat may be given a picture at this moment.
            if not _is_being_written(path):
                path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        if _KEY.fullmatch(key) is None:
            raise ValueError(f"picture key {key!r}: expected 64 hexadecimal digits")
        return self._folder / key[:2] / key


def read_inside(folder: Path, name: str) -> bytes:
    """Read a picture file named by an item, from inside its folder only.

    Args:
        folder: The folder of the pictures.
        name: A path relative to it. `images/1.jpg` is found in a folder `images` as well.

    Raises:
        BadPicture: The name is an address, leads out of the folder, or is no readable file.
    """
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", name) or name.startswith("//"):
        raise BadPicture("an address: pictures are read from --images alone, nothing is fetched")
    path = Path(name)
    if "\0" in name or path.is_absolute() or ".." in path.parts or "\\" in name:
        raise BadPicture("the path leads out of the folder of the pictures")
    root = folder.resolve()
    found = root / path
    try:
        if path.parts[:1] == (root.name,) and not found.exists():
            found = root.joinpath(*path.parts[1:])
        real = found.resolve(strict=True)
    except (OSError, RuntimeError, UnicodeEncodeError) as error:
        raise BadPicture("no such file") from error
    if not real.is_relative_to(root):
        raise BadPicture("the path leads out of the folder of the pictures")
    if not real.is_file():
        raise BadPicture("not a file")
    return read_picture(real)


def read_picture(path: Path) -> bytes:
    """The content of a picture's file, at most `MAX_BYTES`; it is not decoded.

    Raises:
        BadPicture: It cannot be read, or is larger.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise BadPicture(f"cannot be read ({error.strerror})") from error
    if len(content) > MAX_BYTES:
        raise BadPicture(f"larger than {MAX_BYTES // 2**20} MiB")
    return content


def _is_being_written(partial: Path) -> bool:
    process = re.fullmatch(r"[0-9a-f]{64}\.(\d+)\.\d+", partial.name)
    return process is not None and psutil.pid_exists(int(process[1]))


def _folder_of(user: str) -> str:
    # An id may be no name of a file.
    return hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()


def _open(content: bytes) -> Image.Image:
    if not content:
        raise BadPicture("empty")
    try:
        image = Image.open(BytesIO(content), formats=_FORMATS)
    except Image.DecompressionBombError as error:
        raise BadPicture(f"more than {MAX_PIXELS:,} pixels") from error
    except _UNREADABLE as error:
        kind = next((kind for kind in _FORMATS if _begins(content, kind)), None)
        if kind:
            raise BadPicture(f"broken or cut off (in the header of a {kind})") from error
        raise BadPicture("not a JPEG, PNG, WebP, GIF or BMP picture") from error
    if image.width * image.height > MAX_PIXELS:
        raise BadPicture(f"{image.width} x {image.height}: more than {MAX_PIXELS:,} pixels")
    if image.format == "JPEG":
        # Decodes at a fraction of the size, at least twice what is kept.
        image.draft("RGB", (2 * MAX_SIDE, 2 * MAX_SIDE))
    return image


def _begins(content: bytes, kind: str) -> bool:
    """Whether a file begins as those of one of Pillow's formats do."""
    _, accepts = Image.OPEN[kind]
    return accepts is not None and accepts(content[:16]) is True


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        # 16-bit grey; Pillow would clip it to white.
        image = image.convert("I").point(lambda value: value / 256).convert("L")
    if image.has_transparency_data:
        clear = image.convert("RGBA")
        white = Image.new("RGBA", clear.size, "white")
        return Image.alpha_composite(white, clear).convert("RGB")
    return image.convert("RGB")


def _canonical(content: bytes) -> bytes:
    image = open_picture(content)
    header = _open(content)
    plain = header.format in ("JPEG", "PNG") and header.mode == "RGB"
    small = max(header.size) <= MAX_SIDE and len(content) <= 2**20
    if plain and small and header.info.keys() <= _HARMLESS:
        return content
    image.thumbnail((MAX_SIDE, MAX_SIDE), Image.Resampling.LANCZOS)
    kept = BytesIO()
    image.save(kept, "JPEG", quality=95, subsampling=0)
    return kept.getvalue()
