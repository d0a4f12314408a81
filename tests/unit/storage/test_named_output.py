"""Files at paths that the user named: what is there stays unless asked, whatever it is; what is written is whole."""

import os
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import pytest

from fastdup_ray.errors import WorkDirError
from fastdup_ray.storage.named_output import NamedOutput
from tests.helpers.runs import deadline, files_below

MARK = b"<made by us>"


def write(path, data: bytes = b"new", **options) -> None:
    with NamedOutput(path, **options).open() as file:
        file.write(data)


def fail(path, **options) -> None:
    """Write, and come to grief before the end."""
    with pytest.raises(KeyError), NamedOutput(path, **options).open() as file:
        file.write(b"half")
        raise KeyError


def test_a_new_file_is_made_with_the_folders_that_it_takes(tmp_path):
    before = os.umask(0o027)
    try:
        write(tmp_path / "a" / "b" / "new.txt")
    finally:
        os.umask(before)
    assert files_below(tmp_path) == {"a/b/new.txt"}
    assert (tmp_path / "a/b/new.txt").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "a/b/new.txt").stat().st_mode) == 0o640


def test_what_exists_stays_unless_it_may_be_overwritten(tmp_path):
    path = tmp_path / "image.jpg"
    path.write_bytes(b"old")
    path.chmod(0o604)
    before = path.stat()
    for refused in (NamedOutput(path).check, NamedOutput(path).open):
        with pytest.raises(WorkDirError, match="overwrite=True") as error:
            refused()
        assert "\n" not in str(error.value)
        assert str(path) in str(error.value)
    assert path.read_bytes() == b"old"
    assert path.stat().st_ino == before.st_ino
    write(path, overwrite=True)
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode == before.st_mode
    assert files_below(tmp_path) == {"image.jpg"}


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_file_that_is_overwritten_keeps_its_owner(tmp_path):
    path = tmp_path / "theirs.txt"
    path.write_bytes(b"old")
    os.chown(path, 1234, 1235)
    write(path, overwrite=True)
    assert (path.stat().st_uid, path.stat().st_gid) == (1234, 1235)


def test_a_call_that_fails_leaves_all_as_it_was(tmp_path):
    old = tmp_path / "old.txt"
    old.write_bytes(b"old")
    fail(old, overwrite=True)
    fail(tmp_path / "new.txt")
    assert old.read_bytes() == b"old"
    assert files_below(tmp_path) == {"old.txt"}


def test_a_file_that_comes_into_being_meanwhile_stays(tmp_path):
    path = tmp_path / "new.txt"
    with pytest.raises(WorkDirError, match="exists"), NamedOutput(path).open() as file:
        file.write(b"new")
        path.write_bytes(b"theirs")
    assert path.read_bytes() == b"theirs"
    assert files_below(tmp_path) == {"new.txt"}


def test_what_is_no_file_any_more_stays_even_with_overwrite(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with pytest.raises(WorkDirError), NamedOutput(path, overwrite=True).open():
        path.unlink()
        os.mkfifo(path)
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert os.listdir(tmp_path) == ["file"]


def test_only_what_has_our_mark_is_replaced_unasked(tmp_path):
    ours, theirs = tmp_path / "ours.html", tmp_path / "theirs.html"
    ours.write_bytes(b"<html>" + MARK)
    theirs.write_bytes(b"<html>")
    write(ours, mark=MARK)
    with pytest.raises(WorkDirError):
        write(theirs, mark=MARK)
    assert ours.read_bytes() == b"new"
    assert theirs.read_bytes() == b"<html>"


# --- links ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_and_its_target_is_written(tmp_path, exists):
    target, link = tmp_path / "there" / "target.txt", tmp_path / "link.txt"
    (tmp_path / "link.txt").symlink_to("there/target.txt")
    if exists:
        target.parent.mkdir()
        target.write_bytes(b"old")
        with pytest.raises(WorkDirError, match="exists"):
            write(link)
        assert target.read_bytes() == b"old"
    write(link, overwrite=exists)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"
    assert files_below(tmp_path) == {"there/target.txt", "link.txt"}


def test_a_link_in_a_circle_is_told(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(WorkDirError, match="Cannot write"):
        write(tmp_path / "a", overwrite=True)
    assert (tmp_path / "a").is_symlink()
    assert (tmp_path / "b").is_symlink()


# --- pipes, devices and standard output -------------------------------------------------------------------------------


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_pipe_is_written_into_and_stays_a_pipe(tmp_path, overwrite):
    pipe, link, read = tmp_path / "pipe", tmp_path / "link", []
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    for path in (pipe, link):
        reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
        reader.start()
        with deadline(20):
            write(path, b"x" * 200_000, overwrite=overwrite)
            reader.join()
    assert read == [b"x" * 200_000] * 2
    assert stat.S_ISFIFO(pipe.lstat().st_mode)
    assert link.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]


def test_a_pipe_gets_nothing_of_a_call_that_fails(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    fail(pipe)
    assert os.read(reader, 100) == b""
    os.close(reader)


def test_a_pipe_that_nobody_reads_on_is_an_error(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    with pytest.raises(BrokenPipeError):
        write(f"/dev/fd/{writer}")
    os.close(writer)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may make device nodes")
def test_device_nodes_stay_and_disks_are_not_touched(tmp_path):
    null, disk = tmp_path / "null", tmp_path / "disk"
    os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(disk, stat.S_IFBLK | 0o666, os.makedev(7, 250))
    write(null)
    with pytest.raises(WorkDirError, match="is a block device"):
        write(disk, overwrite=True)
    assert stat.S_ISCHR(null.stat().st_mode)
    assert stat.S_ISBLK(disk.stat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["disk", "null"]


def test_a_dash_is_standard_output(tmp_path, monkeypatch, capfdbinary):
    monkeypatch.chdir(tmp_path)
    print("before")
    output = NamedOutput("-")
    assert output.is_stdout
    assert output.path == "-"
    assert not output.is_file()
    write("-", b"\xff\0new")
    fail("-")
    assert capfdbinary.readouterr().out == b"before\n\xff\0new"
    assert os.listdir(tmp_path) == []


WRITE = """
import sys
from fastdup_ray.storage.named_output import NamedOutput
output = NamedOutput(sys.argv[1])
assert output.is_stdout == (sys.argv[2] == "1")
with output.open() as file:
    file.write(b"new\\n")
"""


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_standard_output_is_what_the_shell_made_it(tmp_path, name):
    """A file that it appends to keeps its lines, and needs no --overwrite."""
    (tmp_path / "link").symlink_to("/dev/stdout")
    script = f'echo old >> out; "{sys.executable}" -c "$0" {name} 1 >> out && echo end >> out'
    subprocess.run(["bash", "-c", script, WRITE], cwd=tmp_path, check=True)
    assert (tmp_path / "out").read_text() == "old\nnew\nend\n"
    assert sorted(os.listdir(tmp_path)) == ["link", "out"]


def test_what_a_shell_gives_for_an_output_is_written(tmp_path):
    script = (
        f'"{sys.executable}" -c "$0" >(cat > out) 0; "{sys.executable}" -c "$0" /dev/fd/7 0 7> seven; wait; sleep 0.2'
    )
    subprocess.run(["bash", "-c", script, WRITE], cwd=tmp_path, check=True)
    assert (tmp_path / "out").read_text() == (tmp_path / "seven").read_text() == "new\n"


@pytest.mark.parametrize("name", ["-", "/dev/stdout"])
def test_standard_output_that_is_closed_is_told(tmp_path, name):
    script = f'exec 1>&-; exec "{sys.executable}" -c "$0" {name} 1'
    done = subprocess.run(["bash", "-c", script, WRITE], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert "WorkDirError: Cannot write to standard output" in done.stderr


# --- what cannot be written -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["folder", "folder/", "new/", ".", "file/below.txt", "x" * 300, "s3://bucket", "s3://b/a/"]
)
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_can_be_no_file_is_one_line(tmp_path, monkeypatch, name, overwrite):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    Path("file").write_bytes(b"old")
    with pytest.raises(WorkDirError) as error:
        write(name, overwrite=overwrite)
    assert "\n" not in str(error.value)
    assert name in str(error.value)
    assert sorted(os.listdir()) == ["file", "folder"]
    assert Path("file").read_bytes() == b"old"


def test_a_full_disk_is_one_line_and_the_old_file_stays(small_disk):
    old = small_disk / "old.txt"
    old.write_bytes(b"old")
    with pytest.raises(WorkDirError, match="No space left on device") as error:
        write(old, b"x" * (4 << 20), overwrite=True)
    assert "\n" not in str(error.value)
    assert old.read_bytes() == b"old"
    assert files_below(small_disk) == {"old.txt"}


def test_a_device_that_is_full_is_one_line():
    with pytest.raises(WorkDirError, match="No space left on device"):
        write("/dev/full")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_without_permission_it_is_one_line_before_anything_is_done():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        protected = Path(folder, "file.txt")
        protected.write_bytes(b"old")
        for path in (protected, Path(folder, "new.txt"), Path(folder, "a", "b", "new.txt")):
            assert _refused_to_a_guest(path), path
        assert files_below(Path(folder)) == {"file.txt"}


def _refused_to_a_guest(path: Path) -> bool:
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(65534)
            os.setuid(65534)
            NamedOutput(path, overwrite=True).check()
            os._exit(0)
        except WorkDirError as error:
            os._exit(7 if "ermission" in str(error) and "\n" not in str(error) else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


# --- objects ----------------------------------------------------------------------------------------------------------


def test_an_object_that_exists_stays_unless_it_may_be_overwritten(bucket):
    uri = bucket.put("lists/keep.txt", b"old")
    with pytest.raises(WorkDirError, match="exists"):
        write(uri)
    fail(uri, overwrite=True)
    assert NamedOutput(uri).is_file()
    assert _read(bucket, "lists/keep.txt") == b"old"
    write(uri, overwrite=True)
    write(bucket.uri("lists/new.txt"))
    assert _read(bucket, "lists/keep.txt") == _read(bucket, "lists/new.txt") == b"new"
    page = bucket.put("page_frame.html", MARK)
    write(page, mark=MARK)
    assert _read(bucket, "page_frame.html") == b"new"


def _read(bucket, name: str) -> bytes:
    key = bucket.uri(name).removeprefix("s3://open/")
    return bucket.client.get_object(Bucket="open", Key=key)["Body"].read()
