"""A server that reads its files again is told from somebody who looks at one."""

from watchdog.events import FileClosedEvent, FileMovedEvent, FileOpenedEvent

from agent.catalog.file_events import FLOOD_SECONDS, MOST_EVENTS, READERS, Handler, Readings
from agent.catalog.host_files import ANY_NAME

CONF = "/data/postgresql.conf"


def hints(*moments, path=CONF):
    readings = Readings()
    return [moment for moment in moments if readings.opened(path, moment)]


def test_all_processes_of_a_server_open_the_file_at_once():
    assert hints(1.0, 1.01, 1.02, 1.05, 1.06, 1.07) == [1.05]


def test_looks_of_ours_are_none():
    looks = [moment + opening for moment in (0.1, 0.6, 2.0, 6.0) for opening in (0.0, 0.02)]
    assert hints(*looks) == []


def test_two_files_are_counted_apart():
    readings = Readings()
    opened = [readings.opened(f"{CONF}{n}", 1.0) for n in range(READERS)]
    assert not any(opened)


def test_a_hint_is_given_once_for_all_looks_that_follow_it():
    again = [moment + n * 0.01 for moment in (1.0, 2.0, 9.0) for n in range(READERS)]
    assert hints(*again) == [1.03, 9.03]


class Told:
    def __init__(self, names=("pg_hba.conf",), reads=()):
        self.now, self.hints, self.floods, self.opened = 0.0, 0, 0, []
        self.handler = Handler(
            names, reads, self.hint, self.opened.append, self.flood, lambda: self.now
        )

    def hint(self):
        self.hints += 1

    def flood(self):
        self.floods += 1

    def hears(self, *events):
        for event in events:
            self.handler.dispatch(event)


def test_of_a_folder_only_the_files_of_the_configuration_are_heard():
    told = Told()
    told.hears(FileClosedEvent("/etc/passwd"), FileOpenedEvent("/etc/pg_hba.conf"))
    assert (told.hints, told.opened) == (0, [])
    told.hears(
        FileClosedEvent("/etc/pg_hba.conf"), FileMovedEvent("/etc/x.new", "/etc/pg_hba.conf")
    )
    assert told.hints == 2


def test_of_an_included_folder_any_file_is_heard():
    told = Told({ANY_NAME})
    told.hears(FileClosedEvent("/etc/conf.d/new.conf"))
    assert told.hints == 1


def test_who_opens_a_file_is_asked_of_one_file_alone():
    told = Told({ANY_NAME}, {"postgresql.conf"})
    told.hears(FileOpenedEvent("/etc/other.conf"), FileOpenedEvent("/etc/postgresql.conf"))
    assert told.opened == ["/etc/postgresql.conf"]


def test_a_folder_in_which_too_much_happens_is_told_once_and_an_ordinary_day_is_not():
    told = Told()
    for _ in range(3):
        told.now += FLOOD_SECONDS + 1
        told.hears(*[FileClosedEvent("/tmp/x")] * (MOST_EVENTS - 1))
    assert told.floods == 0
    told.hears(*[FileClosedEvent("/tmp/x")] * 10)
    assert told.floods == 1
