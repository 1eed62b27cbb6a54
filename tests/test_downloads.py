"""Downloads against a real server on this machine: one that breaks off, stalls, lies, and one that does its work."""

import hashlib
import http.server
import io
import json
import re
import tarfile
import threading
import zipfile
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from ase import units
from structures_for_tests import labelled_water

from workbench import downloads
from workbench.catalogue import fetched
from workbench.cli import main
from workbench.conversion import convert, prepare, ready_from
from workbench.downloads import fetch, named, only_member, unpack
from workbench.literature import RESULTS
from workbench.published import PUBLISHED, Published
from workbench.structures import labels, read, write

REAL = Path(__file__).resolve().parents[2] / "shared" / "data"

CONTENT = bytes(range(256)) * 20_000  # 5 MB


class Server(http.server.BaseHTTPRequestHandler):
    """What it does is in the path; `log` keeps the ranges that were asked for."""

    log: list[str | None] = []  # noqa: RUF012
    stall = threading.Event()

    def do_GET(self) -> None:
        way, asked = self.path.split("/")[1], self.headers.get("Range")
        self.log.append(asked)
        if way == "absent":
            self.send_error(404)
            return
        if way == "moved":
            self.send_response(302)
            self.send_header("Location", "/whole/x.xyz")
            self.end_headers()
            return
        body = {"corrupted": CONTENT[:-1] + b"x", "longer": CONTENT + b"more"}.get(way, CONTENT)
        start = int(asked[6:-1]) if asked and way != "forgetful" else 0
        if start >= len(body):
            self.send_response(416)
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            shift = 1 if way == "shifted" else 0
            self.send_header("Content-Range", f"bytes {start + shift}-{len(body) - 1}/{len(body)}")
        if way != "unannounced":
            self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        short = (
            len(body) // 3
            if way in ("truncated", "forgetful", "shifted", "stalled") and len(self.log) < 3
            else 0
        )
        with suppress(ConnectionError):  # a client may hang up
            self.wfile.write(body[start : start + short] if short else body[start:])
            self.wfile.flush()
        if way == "stalled" and short:
            self.stall.wait(10)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def address():
    Server.log, Server.stall = [], threading.Event()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    Server.stall.set()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def publish(monkeypatch, address):
    """Put one set into the catalogue, served in some way; its name."""

    def add(way: str, checksum: str | None = None, **more: object) -> str:
        wanted = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}" if checksum is None else checksum
        entry = Published("trial", "", f"{address}/{way}/x.xyz?download=1", wanted, "CC0", "", **more)
        monkeypatch.setitem(PUBLISHED, "trial", entry)
        return "trial"

    return add


def kept(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_comes_whole_with_progress_and_a_record(publish, tmp_path):
    seen = []
    path = fetch(publish("whole"), tmp_path / "new", progress=lambda *at: seen.append(at))
    assert path == tmp_path / "new" / "trial.xyz"
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert kept(path.parent) == {"trial.xyz", "trial.xyz.sha256"}
    assert (
        path.with_name("trial.xyz.sha256").read_text() == f"{hashlib.sha256(CONTENT).hexdigest()}  trial.xyz\n"
    )


def test_what_is_there_is_compared_and_not_fetched_again(publish, tmp_path):
    path = fetch(publish("whole"), tmp_path)
    asked = len(Server.log)
    assert fetch("trial", tmp_path) == path
    assert len(Server.log) == asked
    path.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(ValueError, match="damaged or another version"):
        fetch("trial", tmp_path)
    assert path.exists()  # it may be somebody's own


@pytest.mark.parametrize("way", ["truncated", "forgetful"])
def test_a_connection_that_breaks_is_taken_up_where_it_ended(way, publish, tmp_path):
    assert fetch(publish(way), tmp_path).read_bytes() == CONTENT
    assert Server.log[:2] == [None, f"bytes={len(CONTENT) // 3}-"]


def test_a_server_that_stalls_is_asked_again(publish, tmp_path):
    assert fetch(publish("stalled"), tmp_path, timeout_s=0.3).read_bytes() == CONTENT
    assert len(Server.log) == 3


def test_a_later_call_goes_on_too(publish, tmp_path):
    (tmp_path / "trial.xyz.partial").write_bytes(CONTENT[:1000])
    assert fetch(publish("whole"), tmp_path).read_bytes() == CONTENT
    assert Server.log == ["bytes=1000-"]


def test_the_end_of_a_file_that_is_there_is_noticed(publish, tmp_path):
    (tmp_path / "trial.xyz.partial").write_bytes(CONTENT)
    assert fetch(publish("whole"), tmp_path).read_bytes() == CONTENT


def test_a_redirection_is_followed(publish, tmp_path):
    assert fetch(publish("moved"), tmp_path).read_bytes() == CONTENT


@pytest.mark.parametrize("way", ["corrupted", "longer"])
def test_another_file_is_refused_and_removed(way, publish, tmp_path):
    with pytest.raises(ValueError, match="sha256"):
        fetch(publish(way), tmp_path)
    assert kept(tmp_path) == set()


def test_a_part_that_was_not_asked_for_is_refused(publish, tmp_path):
    with pytest.raises(ValueError, match="another part"):
        fetch(publish("shifted"), tmp_path)


def test_a_wrong_size_is_refused_before_anything_is_read(publish, tmp_path):
    with pytest.raises(ValueError, match=f"has {len(CONTENT)} bytes, and should have 7"):
        fetch(publish("whole", size=7), tmp_path)
    assert kept(tmp_path) == set()


def test_a_server_that_never_stops_is_given_up(publish, tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "LONGEST_UNANNOUNCED", 1_000_000)
    with pytest.raises(ValueError, match="does not stop sending"):
        fetch(publish("unannounced"), tmp_path)
    assert kept(tmp_path) == set()


def test_no_such_file_says_so_at_once(publish, tmp_path):
    with pytest.raises(ConnectionError, match="404"):
        fetch(publish("absent"), tmp_path)
    assert len(Server.log) == 1


def test_no_server_says_so(publish, tmp_path, monkeypatch):
    name = publish("whole")
    monkeypatch.setitem(PUBLISHED, name, Published(name, "", "http://127.0.0.1:9/x.xyz", "md5:00", "CC0", ""))
    with pytest.raises(ConnectionError, match="cannot be read"):
        fetch(name, tmp_path)


@pytest.mark.parametrize(
    "checksum",
    [
        f"md5:{hashlib.md5(CONTENT).hexdigest()}",
        f"git-blob-sha1:{hashlib.sha1(b'blob %d' % len(CONTENT) + bytes(1) + CONTENT).hexdigest()}",
        f"sha256:{hashlib.sha256(CONTENT).hexdigest()[:12]}",
    ],
)
def test_every_kind_of_checksum_is_compared(checksum, publish, tmp_path):
    assert fetch(publish("whole", checksum), tmp_path).read_bytes() == CONTENT
    wrong = checksum[:-1] + ("0" if checksum[-1] != "0" else "1")
    with pytest.raises(ValueError, match="expected"):
        fetch(publish("whole", wrong), tmp_path / "wrong")


def test_without_a_checksum_only_who_trusts_gets_it_and_the_first_is_recorded(publish, tmp_path):
    with pytest.raises(ValueError, match="--trust"):
        fetch(publish("whole", ""), tmp_path)
    assert Server.log == []
    path = fetch("trial", tmp_path, trust=True)
    assert fetch("trial", tmp_path) == path  # known from now on
    path.with_name("trial.xyz.sha256").unlink()
    with pytest.raises(ValueError, match="--trust"):
        fetch("trial", tmp_path)
    fetch("trial", tmp_path, trust=True)
    path.unlink()
    publish("corrupted", "")
    with pytest.raises(ValueError, match="sha256"):
        fetch("trial", tmp_path, trust=True)


def test_a_copy_on_this_machine_is_taken_when_it_is_the_right_one(publish, tmp_path):
    (tmp_path / "mine").write_bytes(CONTENT)
    path = fetch(publish("absent", by_hand="it is a page"), tmp_path / "data", file=tmp_path / "mine")
    assert path.read_bytes() == CONTENT
    assert Server.log == []
    (tmp_path / "other").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="another version"):
        fetch("trial", tmp_path / "again", file=tmp_path / "other")
    assert (tmp_path / "other").exists()
    with pytest.raises(ValueError, match="it is a page"):
        fetch("trial", tmp_path / "third")


def test_a_misspelt_name_is_answered_with_the_nearest():
    with pytest.raises(KeyError, match="Did you mean 'rmd17'"):
        named("rmd-17")


def tar_of(path: Path, name: str, **member: object) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for one in ("good.xyz", name):
            info = tarfile.TarInfo(one)
            info.size = 3
            if one == name:
                for key, value in member.items():
                    setattr(info, key, value)
            archive.addfile(info, io.BytesIO(b"abc"))
    return path


def test_an_archive_is_unpacked_into_its_folder(tmp_path):
    made = unpack(tar_of(tmp_path / "set.tar.gz", "inner/b.xyz"))
    assert made == [tmp_path / "set" / "good.xyz", tmp_path / "set" / "inner" / "b.xyz"]
    assert [path.read_bytes() for path in made] == [b"abc", b"abc"]
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("inner/c.xyz", "def")
    assert [path.read_text() for path in unpack(tmp_path / "other.zip")] == ["def"]


@pytest.mark.parametrize("name", ["../evil", "/evil-of-a-test", "inner/../../evil", "..\\..\\x/../../../evil"])
def test_an_archive_cannot_write_elsewhere(name, tmp_path):
    with pytest.raises(ValueError, match="outside"):
        unpack(tar_of(tmp_path / "set.tar.gz", name), tmp_path / "inside" / "set")
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr(name, "abc")
    with pytest.raises(ValueError, match="outside"):
        unpack(tmp_path / "set.zip", tmp_path / "inside" / "set")
    assert kept(tmp_path) == {"set.tar.gz", "set.zip"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_an_archive_holds_plain_files_only(kind, tmp_path):
    with pytest.raises(ValueError, match="no plain file"):
        unpack(tar_of(tmp_path / "set.tar.gz", "link", type=kind, linkname="/etc/passwd", size=0))
    assert kept(tmp_path) == {"set.tar.gz"}


def test_the_only_file_of_frames_in_an_archive_is_made_ready(publish, tmp_path, capsys):
    write(tmp_path / "frames.xyz", labelled_water(5))
    frames = (tmp_path / "frames.xyz").read_text()
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("inner/electrolyte.xyz", frames)
        archive.writestr("__MACOSX/inner/._electrolyte.xyz", b"\0\5")
        archive.writestr("readme.txt", "five waters")
    (tmp_path / "mine.zip").write_bytes(packed.getvalue())
    name = publish("absent", suffix=".zip", checksum=f"sha256:{hashlib.sha256(packed.getvalue()).hexdigest()}")
    command = ["data", "fetch", name, "--folder", str(tmp_path / "data"), "--file", str(tmp_path / "mine.zip")]
    assert main([*command, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (tmp_path / "data" / "trial.xyz").read_text() == frames
    assert told["ready"] == str(tmp_path / "data" / "trial.h5")
    assert told["about"]["n_frames"] == 5
    assert [len(atoms) for atoms in fetched(name, tmp_path / "data")] == [3] * 5


@pytest.mark.parametrize("names", [["a.txt"], ["a.xyz", "b.xyz"]])
def test_of_other_archives_nothing_is_made_ready(names, tmp_path):
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        for name in names:
            archive.writestr(name, "abc")
    assert only_member(tmp_path / "set.zip", ready_from) is None
    (tmp_path / "set.json").write_text("{}")
    assert only_member(tmp_path / "set.json", ready_from) is None
    assert kept(tmp_path) == {"set.zip", "set.json"}


def test_an_archive_larger_than_the_disk_is_refused(tmp_path, monkeypatch):
    archive = tar_of(tmp_path / "set.tar.gz", "b.xyz")
    monkeypatch.setattr(downloads.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 5}))
    with pytest.raises(ValueError, match="unpacks to 6 bytes"):
        unpack(archive)


def test_what_is_no_archive_says_so(tmp_path):
    (tmp_path / "set.tar.gz").write_bytes(b"<html>not found</html>")
    with pytest.raises(ValueError, match="neither a zip nor a tar"):
        unpack(tmp_path / "set.tar.gz")


def test_the_command_fetches_checks_and_unpacks(publish, tmp_path, capsys):
    command = ["data", "fetch", publish("whole"), "--no-convert", "--folder", str(tmp_path), "--json"]
    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["file"] == str(tmp_path / "trial.xyz")
    assert main([*command, "--unpack"]) == 2
    assert "neither a zip nor a tar" in capsys.readouterr().err
    publish("absent")
    assert main(["data", "fetch", "trial", "--folder", str(tmp_path / "new")]) == 1
    assert "404" in capsys.readouterr().err
    copy = ["--file", str(tmp_path / "trial.xyz"), "--folder", str(tmp_path / "new"), "--no-convert"]
    assert main(["data", "fetch", "trial", *copy]) == 0
    shown = capsys.readouterr().out
    assert "agrees with sha256" in shown
    assert "licence: CC0" in shown


def test_the_command_lists_and_shows_what_is_published(capsys):
    assert main(["data", "list", "--json"]) == 0
    assert [one["name"] for one in json.loads(capsys.readouterr().out)["published"]] == list(PUBLISHED)
    assert main(["data", "list"]) == 0
    assert set(PUBLISHED) <= set(capsys.readouterr().out.split())
    assert main(["data", "show", "formate_cu"]) == 0
    assert PUBLISHED["formate_cu"].checksum in capsys.readouterr().out
    assert main(["data", "fetch", "rmd"]) == 2
    assert "Did you mean 'rmd17'" in capsys.readouterr().err


def test_what_the_literature_reached_is_shown(capsys):
    assert set(RESULTS) <= set(PUBLISHED)
    assert main(["data", "show", "bio_dimers"]) == 0
    shown = capsys.readouterr().out
    assert re.search(r"LOREM +forces RMSE +1.646 meV/Å +LOREM, arXiv:2507.19382, Table 1", shown)


XYZ = "2\nProperties=species:S:1:pos:R:3:forces:R:3 {}\nH 0 0 0 0 0 1\nH 0 0 {} 0 0 -1\n"


def test_a_fetched_set_is_ready_to_train_by_its_name(publish, tmp_path, monkeypatch, capsys):
    """In eV and Å, with licence and citation, whatever the units of the file; frames with errors are counted."""
    text = "".join(XYZ.format(f"energy={-1.1 - 0.01 * i} step={i}", 1.4 + 0.01 * i) for i in range(5))
    text += XYZ.format("energy=-1 step=5", 1e-3)
    (tmp_path / "mine").write_text(text)
    sum_of = f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"
    publish("absent", sum_of, units="Ha, Bohr", note="of a test")
    monkeypatch.chdir(tmp_path)
    assert main(["train", "trial", "--folder", "run"]) == 2
    assert "workbench data fetch trial" in capsys.readouterr().err
    assert main(["data", "fetch", "trial", "--file", "mine"]) == 0
    shown = capsys.readouterr().out
    assert "ready to train: data/trial.h5, 5 frames, 10 atoms in eV" in shown
    assert "left out: 1 frames with errors" in shown
    frames = fetched("trial")
    assert frames[2].info["step"] == 2
    assert frames[2].get_potential_energy() == pytest.approx(-1.12 * units.Ha)
    assert frames[2].get_forces()[0, 2] == pytest.approx(units.Ha / units.Bohr)
    assert frames[2].positions[1, 2] == pytest.approx(1.42 * units.Bohr)
    assert frames.about["licence"] == "CC0"
    assert frames.about["units_of_the_source"] == "Ha, Bohr"
    assert main(["data", "fetch", "trial"]) == 0  # everything is here
    assert main(["data", "show", "trial"]) == 0
    assert "it is here: data/trial.h5" in capsys.readouterr().out
    assert (
        main(["train", "trial", "--folder", "run", "--preset", "tiny", "--epochs", "1", "--validation", "1"])
        == 0
    )


def test_one_molecule_is_taken_out_of_its_archive(publish, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    arrays = {
        "nuclear_charges": [8, 1, 1],
        "coords": 1.5 * np.eye(3) + 0.05 * rng.normal(size=(4, 3, 3)),
        "energies": rng.normal(size=4) - 9e4,
    }
    np.savez(tmp_path / "one_water.npz", **arrays, forces=rng.normal(size=(4, 3, 3)))
    with tarfile.open(tmp_path / "all.tar.bz2", "w:bz2") as archive:
        archive.add(tmp_path / "one_water.npz", "all/npz_data/one_water.npz")
    content = (tmp_path / "all.tar.bz2").read_bytes()
    publish("absent", f"sha256:{hashlib.sha256(content).hexdigest()}", suffix=".tar.bz2")
    part = {"units": "kcal/mol, Å", "archive": "trial", "member": "one_water.npz"}
    whole = PUBLISHED["trial"]
    monkeypatch.setitem(PUBLISHED, "one", Published("one", "", whole.url, whole.checksum, "CC0", "", **part))
    path = fetch("one", tmp_path / "data", file=tmp_path / "all.tar.bz2")
    assert path == tmp_path / "data" / "one.npz"
    frames = prepare(PUBLISHED["one"], path)
    assert frames.energies == pytest.approx(np.array(arrays["energies"]) * units.kcal / units.mol)
    lost = Published("lost", "", whole.url, whole.checksum, "CC0", "", archive="trial", member="nothing.npz")
    monkeypatch.setitem(PUBLISHED, "lost", lost)
    with pytest.raises(ValueError, match=r"holds no nothing\.npz; it holds all/npz_data/one_water"):
        fetch("lost", tmp_path / "data")


@pytest.mark.skipif(not REAL.is_dir(), reason="the published data sets are not beside this checkout")
@pytest.mark.parametrize("name", ["rmd17_aspirin", "formate_cu", "li_mn_o"])
def test_published_sets_are_made_ready_whole(name, tmp_path):
    before = read(REAL / f"{name}.xyz.gz")
    after = convert(REAL / f"{name}.xyz.gz", tmp_path / "set.h5")
    assert len(after) == len(before)
    assert sum(after.about["labels"].values()) == sum(
        source.n_frames for source in before.sources if source.quantity in labels(before[0])
    )
    for i in range(0, len(before), 97):
        for key, value in labels(before[i]).items():
            np.testing.assert_array_equal(labels(after[i])[key], value)


LENGTHS = {"sha256": 64, "md5": 32, "git-blob-sha1": 40}


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_entry_can_be_checked_or_says_that_it_cannot(name, tmp_path):
    entry = PUBLISHED[name]
    assert all(result.value > 0 and result.unit and result.source for result in entry.results)
    assert entry.name == name
    assert entry.url.startswith("https://") or name == "md17"
    assert entry.title
    assert entry.licence
    assert re.search(r"10\.\d{4}|arXiv:\d{4}", entry.citation)
    if entry.checksum:
        algorithm, digits = entry.checksum.split(":")
        assert re.fullmatch("[0-9a-f]+", digits)
        assert len(digits) in (LENGTHS[algorithm], 12)
        assert "." in entry.file_name
    else:
        with pytest.raises(ValueError, match=r"--trust|cannot be fetched"):
            fetch(name, tmp_path)
    assert len({one.file_name for one in PUBLISHED.values()}) == len(PUBLISHED)
