"""The archive is one that any reader of tar and gzip understands."""

from __future__ import annotations

import gzip
import tarfile
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from anomalyvfm.submission.packing import pack
from anomalyvfm.tracking import untracked

NAMES = st.text("abcé/", min_size=1, max_size=150).filter(lambda name: all(name.split("/")))


@settings(max_examples=40)
@given(
    st.dictionaries(
        NAMES, st.binary(max_size=1200) | st.sampled_from([bytes(512), bytes(511), bytes(90_000)])
    )
)
def test_files_of_any_length_and_name_come_back(files: dict[str, bytes]) -> None:
    # A name cannot be a file and a folder at once.
    files = {name: files[name] for name in files if not any(other.startswith(f"{name}/") for other in files)}
    with tempfile.TemporaryDirectory() as folder:
        root, archive = Path(folder, "in"), Path(folder, "packed.tar.gz")
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(content)
        pack(root, list(files), archive, untracked)
        first = archive.read_bytes()
        pack(root, list(reversed(files)), archive, untracked)
        assert archive.read_bytes() == first
        assert len(gzip.decompress(first)) % tarfile.BLOCKSIZE == 0  # also checks length and checksum
        with tarfile.open(archive) as tar:
            streams = {member.name: tar.extractfile(member) for member in tar}
            assert {name: stream.read() for name, stream in streams.items() if stream} == files
            assert list(streams) == sorted(files)
