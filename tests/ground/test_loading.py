"""Imports beside other work: a process that is over waits for the one that is under way, and for no other."""

import pytest
from conftest import job

PROGRAM = """
import pathlib, sys, time
from perla_net.ground.loading import Loading
def load():
    import first
    import second
thread = Loading(load)
thread.start()
if sys.argv[1] == "wait":
    thread.join()
else:
    while not pathlib.Path(__file__).with_name("begun").exists():
        time.sleep(0.001)
sys.exit(2)
"""
FIRST = """
import pathlib, threading
pathlib.Path(__file__).with_name("begun").touch()
while threading.main_thread().is_alive():
    pass
pathlib.Path(__file__).with_name("first.done").touch()
"""


def leave(folder, first, second, how):
    """A program that leaves with the status 2 while ``first`` is imported, or after it has waited for both; what it wrote and said."""
    (folder / "first.py").write_text(first)
    (folder / "second.py").write_text(second)
    (folder / "program.py").write_text(PROGRAM)
    done = job(0, str(folder / "program.py"), how, timeout=60, check=False)
    return done.returncode, {file.stem for file in folder.glob("*.done")}, done.stderr


TOUCH = "import pathlib; pathlib.Path(__file__).with_suffix('.done').touch()"


def test_a_process_that_is_over_ends_its_imports_after_the_one_under_way(tmp_path):
    assert leave(tmp_path, FIRST, TOUCH, "go") == (2, {"first"}, "")


def test_a_process_that_waits_has_them_all(tmp_path):
    assert leave(tmp_path, TOUCH, TOUCH, "wait") == (2, {"first", "second"}, "")


def test_what_no_library_may_do_any_more_is_not_an_error(tmp_path):
    # What concurrent.futures.thread, which torch imports, does; Python refuses it when the main thread has ended.
    assert leave(tmp_path, FIRST + "threading._register_atexit(print)\n", TOUCH, "go") == (2, {"first"}, "")


@pytest.mark.parametrize("error", ["ImportError", "RuntimeError"])
def test_an_error_is_shown_while_the_process_goes_on(tmp_path, error):
    status, done, said = leave(tmp_path, TOUCH, f"raise {error}('as if broken')", "wait")
    assert (status, done) == (2, {"first"}) and f"{error}: as if broken" in said


BESIDE = """
import sys, threading
from importlib.machinery import PathFinder
from perla_net.ground.loading import Loading
asked = threading.Event()
going = Loading(asked.wait)
class Waiting:  # the last that is asked before PathFinder
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == "first":
            asked.set()
            going.join()
sys.meta_path.insert(sys.meta_path.index(PathFinder), Waiting)
going.start()
while Loading not in sys.meta_path:
    pass
import first
"""


def test_an_import_of_the_main_thread_is_not_disturbed_by_their_end(tmp_path):
    """Once the finder was removed where they ended; an import that was on its way along the finders then missed the last."""
    (tmp_path / "first.py").touch()
    (tmp_path / "program.py").write_text(BESIDE)
    assert job(0, str(tmp_path / "program.py"), timeout=60)
