"""From what the user named to the list of pictures, and from an entry to its bytes."""

import os
import time
from pathlib import Path

import pytest

from fastdup_ray import RunConfig
from fastdup_ray.common.access import DEFAULT_ACCESS
from fastdup_ray.common.records import ImageRef
from fastdup_ray.errors import BadImageError, InputError
from fastdup_ray.inputs import check_inputs, list_file, list_images, local, read_entry
from tests.helpers.images import cloudy
from tests.helpers.listing import below, listed, make
from tests.helpers.runs import deadline

needs_permissions = pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "pictures"
    path.mkdir()
    return path


# --- folders ----------------------------------------------------------------------------------------------------------


def test_a_folder_is_searched_recursively_and_sorted_by_the_bytes_of_the_paths(folder):
    names = [
        "b.jpg",
        "a/x.jpg",
        "a.b/x.jpg",
        "a.jpg",
        "a/é/1.jpg",
        "a/z.jpg",
        "B.jpg",
        "a-1.jpg",
        "a/b/c/d.jpg",
        "é.jpg",
    ]
    make(folder, *names)
    assert below(folder) == sorted(names, key=os.fsencode)
    assert below(folder).index("a.b/x.jpg") < below(folder).index("a/x.jpg")


def test_names_are_absolute_paths(folder, monkeypatch):
    make(folder, "sub/x.jpg")
    monkeypatch.chdir(folder)
    assert listed(".") == listed("sub") == listed("./sub/../sub") == [str(folder / "sub/x.jpg")]


def test_a_link_in_the_name_of_the_input_is_not_resolved(folder, tmp_path):
    make(folder, "x.jpg")
    (tmp_path / "link").symlink_to(folder)
    assert listed(tmp_path / "link") == [str(tmp_path / "link" / "x.jpg")]


@pytest.mark.parametrize(
    "suffix",
    ["jpg", "JPG", "Jpeg", "png", "PNG", "gif", "bmp", "webp", "tif", "TIFF", "heic", "avif", "jxl", "CR2", "dng"],
)
def test_a_picture_is_known_by_its_suffix_in_any_case(folder, suffix):
    make(folder, f"x.{suffix}")
    assert below(folder) == [f"x.{suffix}"]


@pytest.mark.parametrize("name", ["x.txt", "x.jpg.txt", "jpg", "x", "x.", "x.jpg~", "x.py", "Thumbs.db"])
def test_other_files_are_left_out(folder, name):
    make(folder, name, "y.jpg")
    assert below(folder) == ["y.jpg"]


@pytest.mark.parametrize("name", [".x.jpg", ".jpg", ".hidden/x.jpg", "a/.hidden/b/x.jpg", "._x.jpg"])
def test_hidden_files_and_folders_are_left_out(folder, name):
    make(folder, name, "y.jpg")
    assert below(folder) == ["y.jpg"]


def test_a_hidden_folder_that_the_user_names_is_not_left_out(tmp_path):
    make(tmp_path / ".hidden", "x.jpg")
    assert below(tmp_path / ".hidden") == ["x.jpg"]


def test_a_folder_with_the_name_of_a_picture_is_a_folder(folder):
    make(folder, "album.jpg/x.jpg")
    assert below(folder) == ["album.jpg/x.jpg"]


@pytest.mark.parametrize("work_dir", ["out", "deep/er/out"])
def test_the_work_dir_is_left_out(folder, work_dir):
    make(folder, f"{work_dir}/report/x.jpg", "outside/x.jpg", "y.jpg")
    assert below(folder, work_dir=folder / work_dir) == ["outside/x.jpg", "y.jpg"]


def test_the_work_dir_is_left_out_by_whatever_name_it_is_called(folder, tmp_path):
    make(folder, "out/x.jpg", "y.jpg")
    (tmp_path / "link").symlink_to(folder / "out")
    assert below(folder, work_dir=tmp_path / "link") == ["y.jpg"]


# --- links ------------------------------------------------------------------------------------------------------------


def test_links_to_files_and_folders_outside_are_followed(folder, tmp_path):
    make(tmp_path / "elsewhere", "x.jpg", "sub/y.jpg")
    (folder / "x-link.jpg").symlink_to(tmp_path / "elsewhere" / "x.jpg")
    (folder / "sub-link").symlink_to(tmp_path / "elsewhere" / "sub")
    assert below(folder) == ["sub-link/y.jpg", "x-link.jpg"]


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_a_file_with_several_names_is_listed_once_under_the_first(folder, link):
    make(folder, "b.jpg")
    for name in ("a.jpg", "c.jpg"):
        getattr(folder / name, link)(folder / "b.jpg")
    assert below(folder) == ["a.jpg"]


def test_a_folder_with_several_names_is_listed_once_under_the_first(folder):
    make(folder, "b/x.jpg")
    (folder / "a").symlink_to(folder / "b")
    (folder / "c").symlink_to(folder / "b")
    assert below(folder) == ["a/x.jpg"]


def test_a_file_in_several_inputs_is_listed_once_under_the_first(folder, tmp_path):
    make(folder, "a/x.jpg", "y.jpg")
    (tmp_path / "link").symlink_to(folder)
    config = RunConfig.of(input_dir=[folder / "a", tmp_path / "link", folder], work_dir=tmp_path / "out")
    assert [ref.uri for ref in list_images(config)] == [str(folder / "a" / "x.jpg"), str(tmp_path / "link" / "y.jpg")]


@pytest.mark.parametrize("link", ["a-", "a b", "a!", "A", "a."])
def test_the_first_name_is_the_first_by_the_bytes_of_the_whole_path(folder, link):
    make(folder, "a/x.jpg", "a/sub/y.jpg")
    (folder / link).symlink_to(folder / "a")
    assert below(folder) == [f"{link}/sub/y.jpg", f"{link}/x.jpg"]


def test_a_folder_linked_from_deep_below_stands_under_the_first_of_all_its_paths(folder):
    make(folder, "b/x.jpg", "a/deep/y.jpg", "a.jpg")
    (folder / "a" / "deep" / "link").symlink_to(folder / "b")
    (folder / "a" / "hard.jpg").hardlink_to(folder / "a.jpg")
    assert below(folder) == ["a.jpg", "a/deep/link/x.jpg", "a/deep/y.jpg"]


def test_copies_are_not_links(folder):
    make(folder, "a.jpg")
    (folder / "b.jpg").write_bytes((folder / "a.jpg").read_bytes())
    assert below(folder) == ["a.jpg", "b.jpg"]


@pytest.mark.parametrize("target", [".", "..", "../..", "deeper"])
def test_loops_of_links_end(folder, target):
    make(folder, "a/deeper/x.jpg")
    (folder / "a" / "loop").symlink_to(target)
    (folder / "a" / "deeper" / "loop").symlink_to(target)
    assert below(folder) == ["a/deeper/x.jpg"]


@pytest.mark.parametrize("name", ["loop", "loop.jpg"])
def test_a_link_to_itself_does_not_stop_the_listing(folder, name):
    make(folder, "x.jpg")
    (folder / name).symlink_to(name)
    assert "x.jpg" in below(folder)


def test_a_link_to_nothing_is_an_entry_that_is_missing(folder):
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    (ref,) = list_images(RunConfig.of(input_dir=folder))
    assert (ref.uri, ref.size) == (str(folder / "gone.jpg"), 0)
    assert code_of(ref) == "MISSING"


# --- list files -------------------------------------------------------------------------------------------------------


def is_list(path: Path) -> bool:
    with list_file.open_list(str(path), DEFAULT_ACCESS) as opened:
        return opened is not None


def write_list(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_a_list_keeps_its_order_and_drops_repeats(tmp_path):
    path = write_list(tmp_path / "list.txt", "/b.jpg\n/a.jpg\n/b.jpg\n/c.jpg\n/a.jpg\n")
    assert listed(path) == ["/b.jpg", "/a.jpg", "/c.jpg"]


@pytest.mark.parametrize(
    "content",
    [
        "/a.jpg\n/b.jpg\n",
        "/a.jpg\n/b.jpg",
        "/a.jpg\r\n/b.jpg\r\n",
        "\ufeff/a.jpg\n/b.jpg\n",
        "\n\n/a.jpg\n   \n/b.jpg\n\n",
        "filename\n/a.jpg\n/b.jpg\n",
        "index,filename\n0,/a.jpg\n1,/b.jpg\n",
        "\ufeffindex,filename\r\n0,/a.jpg\r\n1,/b.jpg\r\n",
        'filename,error_code,message\n/a.jpg,CORRUPT,"x, ""y"""\n"/b.jpg",,\n',
        "size,filename,mtime\n1,/a.jpg,2\n3\n4,/b.jpg,5\n",
        "file:///a.jpg\n/b.jpg\n",
        "/x/../a.jpg\n/./b.jpg\n",
    ],
)
def test_a_list_is_one_path_a_row_or_a_csv_with_a_column_filename(tmp_path, content):
    assert listed(write_list(tmp_path / "list", content)) == ["/a.jpg", "/b.jpg"]


def test_names_in_a_csv_may_have_commas_quotes_and_newlines(tmp_path):
    names = ["/a, b.jpg", '/say "hi".jpg', "/two\nlines.jpg", "/c\r.jpg", "/-x.jpg"]
    quoted = ['"' + name.replace('"', '""') + '"' for name in names]
    path = write_list(tmp_path / "list.csv", "index,filename\n" + "\n".join(f"{i},{n}" for i, n in enumerate(quoted)))
    assert listed(path) == names


def test_commas_and_quotes_in_a_plain_list_are_part_of_the_name(tmp_path):
    names = ["/a, b.jpg", '/"quoted".jpg', "/ends in space.jpg ", "/it's.jpg", "/100%.jpg"]
    assert listed(write_list(tmp_path / "list", "\n".join(names))) == names


def test_names_that_are_not_utf8_keep_their_bytes(tmp_path):
    path = write_list(tmp_path / "list", b"/caf\xe9.jpg\n/\xff\xfe.jpg\n")
    assert [os.fsencode(name) for name in listed(path)] == [b"/caf\xe9.jpg", b"/\xff\xfe.jpg"]


@pytest.mark.parametrize("name", ["list", "list.txt", "list.csv", "list.jpg", "list.PNG", "features.dat"])
def test_a_list_may_have_any_name(tmp_path, name):
    assert listed(write_list(tmp_path / name, "/a.jpg\n/b.jpg\n")) == ["/a.jpg", "/b.jpg"]


@pytest.mark.parametrize("start", ["/", "./", "filename\n/", "index,filename\n0,/", "file:///"])
def test_names_in_a_list_may_have_control_characters(tmp_path, start):
    assert len(listed(write_list(tmp_path / "list", f"{start}\x01\x1b[31m\x7f.jpg\n"))) == 1
    assert is_list(tmp_path / "list")


def test_files_in_a_list_need_no_suffix(tmp_path):
    assert listed(write_list(tmp_path / "list", "/a\n/b.bin\n/.hidden\n")) == ["/a", "/b.bin", "/.hidden"]


def test_relative_paths_in_a_list_start_at_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    path = write_list(tmp_path / "list", "x.jpg\n./sub/y.jpg\n../z.jpg\n")
    assert listed(path) == [str(tmp_path / name) for name in ("here/x.jpg", "here/sub/y.jpg", "z.jpg")]


def test_the_home_folder_is_expanded_in_a_list(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert listed(write_list(tmp_path / "list", "~/x.jpg\n")) == [str(tmp_path / "x.jpg")]


def test_an_empty_list_has_no_pictures(tmp_path):
    assert listed(write_list(tmp_path / "list.txt", "")) == []
    assert listed(write_list(tmp_path / "list.csv", "index,filename\n")) == []


def test_a_uri_of_an_unknown_kind_is_refused_and_not_taken_for_a_file(tmp_path):
    with pytest.raises(InputError, match=r"ftp://host/x\.jpg"):
        listed(write_list(tmp_path / "list", "ftp://host/x.jpg\n"))


# --- pictures and several inputs --------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["x.jpg", "x.txt", "x", "x.csv"])
def test_a_picture_is_known_by_its_content(tmp_path, name):
    cloudy(0).save(tmp_path / name, "JPEG")
    assert listed(tmp_path / name) == [str(tmp_path / name)]


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", b"\x00\x01\x02"])
def test_a_broken_picture_is_a_picture_and_no_list(tmp_path, content):
    assert listed(write_list(tmp_path / "x.jpg", content)) == [str(tmp_path / "x.jpg")]


def test_several_inputs_follow_one_another_without_repeats(folder, tmp_path):
    make(folder, "b.jpg", "a.jpg")
    cloudy(0).save(tmp_path / "single.jpg")
    names = write_list(tmp_path / "list", f"{folder}/b.jpg\n/other.jpg\n")
    inputs = [str(tmp_path / "single.jpg"), names, folder]
    assert listed(inputs) == [str(tmp_path / "single.jpg"), f"{folder}/b.jpg", "/other.jpg", f"{folder}/a.jpg"]


def test_of_several_inputs_one_with_the_suffix_of_a_picture_is_not_opened_and_may_be_missing(folder, monkeypatch):
    make(folder, "a.jpg", "album.png/x.jpg")
    inputs = [folder / "a.jpg", folder / "gone.jpg", folder / "album.png"]
    monkeypatch.setattr(list_file, "open_list", None)
    check_inputs(RunConfig.of(input_dir=inputs))
    assert listed(inputs) == [str(folder / name) for name in ("a.jpg", "gone.jpg", "album.png/x.jpg")]
    assert listed(inputs, exclude="gone*") == [str(folder / name) for name in ("a.jpg", "album.png/x.jpg")]


@pytest.mark.parametrize("inputs", ["gone.jpg", ["gone.jpg"], ["gone", "a.jpg"]])
def test_a_single_picture_or_a_folder_that_does_not_exist_is_refused(folder, inputs, monkeypatch):
    make(folder, "a.jpg")
    monkeypatch.chdir(folder)
    with pytest.raises(InputError, match="'gone"):
        check_inputs(RunConfig.of(input_dir=inputs))


def test_many_paths_are_listed_quickly(tmp_path):
    inputs = [tmp_path / f"{number}.jpg" for number in range(20_000)]
    with deadline(10):
        assert len(listed(inputs)) == len(inputs)


@pytest.mark.parametrize(("num_images", "expected"), [(-1, 4), (0, 4), (1, 1), (3, 3), (4, 4), (9, 4)])
def test_num_images_takes_the_first_entries_of_the_list(folder, num_images, expected):
    names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    make(folder, *names)
    assert below(folder, num_images=num_images) == names[:expected]


def test_num_images_counts_repeats_once(tmp_path):
    assert listed(write_list(tmp_path / "list", "/a\n/a\n/b\n/c\n"), num_images=2) == ["/a", "/b"]


@pytest.mark.parametrize("inputs", ["nowhere", ["nowhere"]])
def test_an_input_that_does_not_exist_is_named(inputs, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="'nowhere' does not exist"):
        check_inputs(RunConfig.of(input_dir=inputs))


# --- reading ----------------------------------------------------------------------------------------------------------


def code_of(ref: ImageRef) -> str:
    """The code with which an entry cannot be read."""
    with pytest.raises(BadImageError) as caught, deadline(5):
        read_entry(ref)
    assert caught.value.message
    return caught.value.code


@pytest.fixture
def ref(tmp_path: Path) -> ImageRef:
    (tmp_path / "x.jpg").write_bytes(b"0123456789")
    return local.stat(str(tmp_path / "x.jpg"))


def test_a_file_is_read_whole(ref):
    assert read_entry(ref) == b"0123456789"


def test_a_file_that_went_away_is_missing(ref):
    os.unlink(ref.uri)
    assert code_of(ref) == "MISSING"


@pytest.mark.parametrize("content", [b"0123456789+", b"012345678", b"", b"abcdefghij"])
def test_a_file_that_is_another_than_was_listed_has_changed(ref, content):
    Path(ref.uri).write_bytes(content)
    os.utime(ref.uri, ns=(time.time_ns(), int(ref.mtime_or_etag) + 1_000_000_000))
    assert code_of(ref) == "CHANGED"


def test_a_file_that_grows_while_it_is_read_has_changed(ref, monkeypatch):
    looked_at = []

    def grown(descriptor: int) -> os.stat_result:
        if looked_at:
            with open(ref.uri, "ab") as file:
                file.write(b"more")
        looked_at.append(descriptor)
        return os.stat(descriptor)

    monkeypatch.setattr(local.os, "fstat", grown)
    assert code_of(ref) == "CHANGED"
    assert len(looked_at) == 2


@needs_permissions
def test_a_file_without_permission_is_unreadable(ref):
    os.chmod(ref.uri, 0)
    assert code_of(ref) == "UNREADABLE"


@pytest.mark.parametrize(
    ("error", "code"),
    [(PermissionError(13, "no"), "UNREADABLE"), (OSError(5, "Input/output error"), "READ_FAILED")],
)
def test_what_the_file_system_says_becomes_a_code(ref, error, code, monkeypatch):
    def refuse(*_args, **_keywords):
        raise error

    monkeypatch.setattr(local, "open_regular", refuse)
    assert code_of(ref) == code


def test_a_folder_in_a_list_is_not_an_image(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    assert code_of(local.stat(str(tmp_path / "folder.jpg"))) == "NOT_AN_IMAGE"


def test_what_is_no_regular_file_is_bad_and_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    assert code_of(local.stat(str(tmp_path / "pipe.jpg")))


def test_only_text_is_a_list(tmp_path, photos):
    assert is_list(write_list(tmp_path / "a.jpg", "b.jpg\n"))
    assert not is_list(photos / "originals" / "cat.jpg")
    assert not is_list(photos / "broken" / "half.jpg")
