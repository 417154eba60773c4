"""The secret of claim tokens: made once, kept, and never taken for whole when it is not."""

import os
import stat
from pathlib import Path

import pytest

from taskscheduler.api.claim_secret import claim_secret
from taskscheduler.api.settings import Claims, Settings
from taskscheduler.streams.rocksdb.refusals import DataDamaged


def test_it_is_made_once_and_for_the_owner_alone(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    first = claim_secret(settings)
    assert claim_secret(settings) == first
    assert len((tmp_path / "claim-secret").read_bytes()) == 32
    assert stat.S_IMODE((tmp_path / "claim-secret").stat().st_mode) == 0o600
    assert os.listdir(tmp_path) == ["claim-secret"]


def test_the_one_that_is_set_wins(tmp_path: Path) -> None:
    claim_secret(Settings(data_dir=tmp_path, claims=Claims(secret="s" * 32)))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("left", [b"", b"short", b"x" * 33])
def test_what_is_not_whole_is_refused_with_what_to_do(tmp_path: Path, left: bytes) -> None:
    (tmp_path / "claim-secret").write_bytes(left)
    with pytest.raises(DataDamaged, match=r"claim-secret holds .* bytes instead of 32.*delete"):
        claim_secret(Settings(data_dir=tmp_path))
    assert (tmp_path / "claim-secret").read_bytes() == left


def test_a_start_that_ends_while_it_is_made_leaves_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(handle: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", killed)
        with pytest.raises(KeyboardInterrupt):
            claim_secret(Settings(data_dir=tmp_path))
    assert not (tmp_path / "claim-secret").exists()
    claim_secret(Settings(data_dir=tmp_path))
    assert len((tmp_path / "claim-secret").read_bytes()) == 32
