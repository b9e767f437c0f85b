"""Machines that are folders, and programs that reach them in place of the real ones.

A fake `ssh`, `scp`, `gcloud`, `curl`, `uv`, `sbatch` or `srun` stands first on PATH,
keeps its arguments, and does in a folder what the real one does on a machine: commands
are read by a shell there, as they are after `ssh`.
"""

import os
import pathlib
import signal
import subprocess

ROOT = pathlib.Path(__file__).parent.parent
SCRIPTS = ROOT / "tpu_scripts"
FAKES = pathlib.Path(__file__).parent / "tpu_scripts" / "fakes"
VERBS = ("create", "setup", "train", "resume", "status", "logs", "stop", "delete")
SHEBANG = "#!/usr/bin/env -S python3 -S"
ASKED_FOR_HELP = "import sys\nif '--help' in sys.argv:\n    sys.exit()"
# Words that a shell would take apart, expand or lose.
NASTY = [
    "--gin.TASK='two words'",
    "--gin.A=$HOME `date` $(date) \\ \"quoted\" 'and' !x",
    "--gin.B=*;&|<>#~",
    "--gin.C=",
    "",
    "line\nbreak",
    "ünï",
]


class Machines:
    """The fake machines of a test, and launches on them.

    Args:
        folder: for everything; machine M is the folder `machines/M` in it.
        program: Python that workers run as `keras-switch`.
    """

    def __init__(self, folder, program="print('hello')"):
        self.folder = folder
        self.log_dir = folder / "logs"
        self.program = folder / "keras-switch"
        self.program.write_text(f"{SHEBANG}\n{ASKED_FOR_HELP}\n{program}\n")
        self.program.chmod(0o755)
        self.wheel = folder / "keras_switch-9-py3-none-any.whl"
        self.wheel.touch()
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("DTENSOR")},
            "PATH": f"{FAKES}:{os.environ['PATH']}",
            "FAKE": str(folder),
        }

    def command(self, verb, *words, **settings):
        settings = {"name": "pod", "log_dir": self.log_dir, **settings}
        flags = [f"--{name}={value}" for name, value in settings.items()]
        return [SCRIPTS / "launch.sh", verb, *flags, *words]

    def launch(self, verb, *words, **settings):
        """Returns the finished launch; quick: machines are looked at without pause."""
        quick = {"poll_seconds": 0, "restart_wait": 0, "stop_seconds": 5}
        return subprocess.run(
            self.command(verb, *words, **{**quick, **settings}),
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=120,
        )

    def start(self, verb, *words, **settings):
        """Returns the running launch, as a terminal starts it: Ctrl-C reaches it.

        Tests that run in the background ignore Ctrl-C, and bash cannot undo that; what
        has a handler here starts with the default there.
        """
        signal.signal(signal.SIGINT, signal.default_int_handler)
        return subprocess.Popen(
            self.command(verb, *words, **settings),
            env=self.environment,
            cwd=self.folder,
            stderr=subprocess.PIPE,
            text=True,
        )

    def calls(self, program):
        """Returns the arguments of every call of a fake so far."""
        file = self.folder / f"calls.{program}"
        if not file.exists():
            return []
        return [c.split("\x1f")[:-1] for c in file.read_text().split("\x1e")[:-1]]

    def log(self, worker):
        return (self.log_dir / f"worker-{worker}.log").read_text()


def dry_run(verb, words=(), **settings):
    """Returns the lines that a dry run prints, with the names of folders shortened."""
    settings = {"name": "pod", "log_dir": "/logs", **settings}
    flags = [f"--{name}={value}" for name, value in settings.items()]
    done = subprocess.run(
        [SCRIPTS / "launch.sh", verb, "--dry_run", *flags, "--", *words],
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "USER": "me"},  # no gcloud of ours, no settings
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.replace(str(SCRIPTS), "SCRIPTS").replace(str(ROOT), "CHECKOUT")
