import hashlib
import os
import struct
import subprocess
import sys
import zlib
from io import BytesIO
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mllm_srec.store.errors import BadPicture, StoreError
from mllm_srec.store.files import alone_in
from mllm_srec.store.home import Home
from mllm_srec.store.pictures import MAX_BYTES, MAX_SIDE, open_picture, read_inside
from tests.store.conftest import picture


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + head
        + chunk(b"IDAT", zlib.compress(b"\0" * 999))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_the_usual_formats_are_read(kind: str) -> None:
    image = open_picture(picture("red", kind=kind))
    assert (image.mode, image.size) == ("RGB", (40, 30))
    pixel = image.getpixel((20, 15))
    assert isinstance(pixel, tuple)
    assert pixel[0] > 240
    assert pixel[1] < 20


def test_other_formats_are_refused() -> None:
    with pytest.raises(BadPicture, match="not a JPEG"):
        open_picture(picture(kind="TIFF"))


def test_a_picture_of_40000_by_40000_is_refused_by_its_header() -> None:
    with pytest.raises(BadPicture, match="64,000,000 pixels"):
        open_picture(png_header(40_000, 40_000))
    with pytest.raises(BadPicture, match="9000 x 9000"):
        open_picture(png_header(9_000, 9_000))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP"])
def test_a_truncated_picture_is_refused(kind: str) -> None:
    noise = Image.effect_noise((64, 64), 90).convert("RGB")
    made = BytesIO()
    noise.save(made, kind)
    with pytest.raises(BadPicture):
        open_picture(made.getvalue()[: len(made.getvalue()) * 2 // 3])


@pytest.mark.parametrize("content", [b"", b"hello, I am a text\n" * 50, b"\xff\xd8\xff", b"GIF89a"])
def test_what_is_no_picture_is_refused(content: bytes) -> None:
    with pytest.raises(BadPicture):
        open_picture(content)


def test_a_file_too_large_to_read_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "big.jpg").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(BadPicture, match="larger than"):
        open_picture(tmp_path / "big.jpg")


def test_the_orientation_of_the_camera_is_applied() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    assert open_picture(picture(size=(40, 30), exif=exif)).size == (30, 40)


def test_what_is_transparent_becomes_white() -> None:
    made = BytesIO()
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(made, "PNG")
    assert open_picture(made.getvalue()).getpixel((0, 0)) == (255, 255, 255)


def test_deep_grey_keeps_its_shade() -> None:
    made = BytesIO()
    Image.new("I;16", (4, 4), 32_768).save(made, "PNG")
    assert open_picture(made.getvalue()).getpixel((0, 0)) == (128, 128, 128)


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    made = BytesIO()
    frames[0].save(made, "GIF", save_all=True, append_images=frames[1:])
    assert open_picture(made.getvalue()).getpixel((0, 0)) == (255, 0, 0)


@settings(max_examples=200)
@given(
    kind=st.sampled_from(["JPEG", "PNG", "WEBP", "GIF", "BMP"]),
    changes=st.lists(st.tuples(st.integers(0, 2_000), st.integers(0, 255)), min_size=1, max_size=8),
    cut=st.integers(0, 2_000),
)
def test_a_damaged_picture_is_read_or_refused(
    kind: str, changes: list[tuple[int, int]], cut: int
) -> None:
    content = bytearray(picture(kind=kind))
    for place, value in changes:
        content[place % len(content)] = value
    try:
        image = open_picture(bytes(content[: max(1, len(content) - cut)]))
    except BadPicture:
        return
    assert image.mode == "RGB"


def test_a_picture_is_kept_once_under_its_hash(home: Home) -> None:
    content = picture("blue")
    key = home.pictures.add(content)
    assert key == hashlib.sha256(content).hexdigest() == home.pictures.add(content)
    assert key in home.pictures
    assert home.pictures.load(key).tobytes() == open_picture(content).tobytes()
    kept = [path for path in (home.path / "pictures").rglob("*") if path.is_file()]
    assert [path.name for path in kept] == [key]
    home.pictures.delete(key)
    assert key not in home.pictures


def test_what_a_killed_process_left_is_swept_and_what_a_live_one_writes_is_not(home: Home) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    folder = home.pictures._folder / "partial"
    names = [f"{'a' * 64}.{process}.1" for process in (os.getpid(), ended.pid)]
    for name in (*names, "no name of ours"):
        (folder / name).touch()
    home.pictures.sweep()
    assert [path.name for path in folder.iterdir()] == names[:1]


def test_what_a_user_alone_gave_is_forgotten_with_the_user(home: Home) -> None:
    mine, ours = (
        home.pictures.add(picture(colour), giver="a/\ud800") for colour in ("blue", "red")
    )
    assert home.pictures.add(picture("red"), giver="ben") == ours
    assert home.pictures.given_by("a/\ud800") == {mine, ours}
    home.pictures.forget("a/\ud800")
    assert (mine in home.pictures, ours in home.pictures) == (False, True)
    assert home.pictures.given_by("a/\ud800") == set()
    home.pictures.forget("ben", keep={ours})
    assert ours in home.pictures
    home.pictures.forget("nobody")


def test_a_picture_that_is_given_while_it_is_forgotten_stays(home: Home) -> None:
    content = picture("red")
    key = home.pictures.add(content, giver="mia")
    giving = Thread(target=home.pictures.add, args=(content,), kwargs={"giver": "ben"})
    with alone_in(home.path / "pictures"):  # As while another process forgets mia.
        giving.start()
        giving.join(0.5)
        home.pictures.delete(key)
    giving.join()
    assert key in home.pictures
    assert home.pictures.given_by("ben") == {key}


def test_a_picture_that_is_refused_has_no_giver(home: Home) -> None:
    with pytest.raises(BadPicture):
        home.pictures.add(b"no picture", giver="mia")
    assert home.pictures.given_by("mia") == set()


def test_a_large_picture_is_made_smaller(home: Home) -> None:
    key = home.pictures.add(picture(size=(2_000, 1_000)))
    assert home.pictures.load(key).size == (MAX_SIDE, MAX_SIDE // 2)
    assert home.pictures.thumbnail(key, 32).size == (32, 16)
    assert home.pictures.load(home.pictures.add(picture(size=(5_000, 1)))).size == (MAX_SIDE, 1)


def test_the_place_where_a_photo_was_taken_is_not_kept(home: Home) -> None:
    exif = Image.Exif()
    exif.get_ifd(0x8825)[1] = "N"
    exif[0x010E] = "my kitchen"
    key = home.pictures.add(picture(exif=exif))
    assert b"my kitchen" not in (home.path / "pictures" / key[:2] / key).read_bytes()


def test_a_lost_or_damaged_picture_is_named(home: Home) -> None:
    key = home.pictures.add(picture())
    (home.path / "pictures" / key[:2] / key).write_bytes(b"zero")
    with pytest.raises(StoreError, match="was damaged"):
        home.pictures.load(key)
    home.pictures.delete(key)
    with pytest.raises(StoreError, match="run `srec ingest`"):
        home.pictures.load(key)
    with pytest.raises(ValueError, match="64 hexadecimal"):
        home.pictures.load("../../home.json")


def test_a_picture_is_read_from_inside_its_folder(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    (folder / "sub").mkdir(parents=True)
    (folder / "1.jpg").write_bytes(b"one")
    (folder / "sub" / "2.jpg").symlink_to(folder / "1.jpg")
    assert read_inside(folder, "1.jpg") == b"one"
    assert read_inside(folder, "sub/2.jpg") == b"one"
    assert read_inside(tmp_path, "images/1.jpg") == b"one"
    assert read_inside(folder, "images/1.jpg") == b"one"


@pytest.mark.parametrize(
    "name",
    [
        "../secret.jpg",
        "sub/../../secret.jpg",
        "a/../1.jpg",
        "..",
        "~/secret.jpg",
        "link.jpg",
        "up/secret.jpg",
        "images",
        ".",
        "",
        "pipe",
        "gone.jpg",
        "x" * 5_000,
        "images/" + "x" * 5_000,
        "half of a character \ud800.jpg",
        "images/\ud800.jpg",
        "nul\0.jpg",
        "..\\secret.jpg",
        "http://127.0.0.1:9/1.jpg",
        "https://example.org/1.jpg",
        "//example.org/1.jpg",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "/etc/passwd",
        "loop",
    ],
)
def test_nothing_outside_the_folder_and_no_address_is_followed(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (folder / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    (folder / "up").symlink_to(tmp_path)
    (folder / "loop").symlink_to(folder / "loop")
    os.mkfifo(folder / "pipe")
    with pytest.raises(BadPicture):
        read_inside(folder, name)
