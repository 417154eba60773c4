"""The architecture picture is not older than its source."""

import hashlib
from pathlib import Path

from PIL import Image

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_the_picture_was_drawn_from_its_source() -> None:
    with Image.open(DOCS / "architecture.png") as picture:
        drawn_from = picture.info["Source"]
    assert drawn_from == hashlib.sha256((DOCS / "architecture.toml").read_bytes()).hexdigest(), "run make docs"
