"""An observer of all three events: it keeps a diary in the run's folder. Enable it with `observers = ["diary"]`."""

from harness import hookimpl


@hookimpl
def harness_run_started(event):
    write(event.folder, f"began with {', '.join(event.config['arms'])}")


@hookimpl
def harness_round_finished(event):
    write(event.folder, f"{event.method}, seed {event.seed}: round {event.round.index}, validation {event.validation}")


@hookimpl
def harness_run_finished(event):
    write(event.folder, f"ended with {len(event.rows)} rows")


def write(folder, line):
    with (folder / "diary.txt").open("a", encoding="utf-8") as diary:
        diary.write(f"{line}\n")
