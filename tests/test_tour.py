"""The tour of the README and the chapters of the docs, run as they are written, and what they say is printed."""

import os
import re
import subprocess

import pytest

import mayfly as m

FENCE = re.compile(r"```(sh|text)\n(.*?)```", re.DOTALL)


def steps(page):
    """The page's commands, each with the text that it shows below them (or none)."""
    tour = (m.ROOT / page).read_text().split("<!-- tour:begin -->")[1].split("<!-- tour:end -->")[0]
    found = []
    for kind, text in FENCE.findall(tour):
        if kind == "sh":
            found.append((text, ""))
        else:
            found[-1] = (found[-1][0], text)
    return found


def shell(commands, env, folder):
    """Runs the steps in one shell; returns what each printed."""
    mark = "@@@ next step @@@"
    script = "set -euo pipefail\n" + f"\necho\necho '{mark}'\n".join(commands)
    # Into a file, so that what was printed can be shown if it never ends.
    with open(folder / "printed", "w+") as out:
        try:
            ended = subprocess.run(
                ["bash", "-c", script],
                cwd=folder,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                timeout=300,
            )
        except subprocess.TimeoutExpired:
            out.seek(0)
            pytest.fail(f"the tour does not end; so far:\n{out.read()}")
        out.seek(0)
        printed = out.read().split(mark)
    assert ended.returncode == 0, f"step {len(printed)} failed:\n{commands[len(printed) - 1]}\n{printed[-1]}"
    return printed


def matches(line, shown):
    """Whether a printed line is as the page shows it; `...` there stands for anything."""
    pattern = r".*".join(re.escape(part.strip()) for part in shown.split("..."))
    return re.fullmatch(pattern.replace(r"\ ", r"\s+"), line.strip())


def compare(steps, outputs):
    """Every line that the page shows is among those that were printed, in its order."""
    for (text, shown), printed in zip(steps, outputs, strict=True):
        lines = [line for line in printed.splitlines() if line.strip()]
        for wanted in filter(None, shown.replace("python3.11", m.PYTHON).splitlines()):
            while lines and not matches(lines[0], wanted):
                lines.pop(0)
            assert lines, f"after\n{text}\nthe page shows\n{wanted}\nand this was printed:\n{printed}"
            lines.pop(0)


@pytest.fixture
def sdk(tmp_path):
    """boto3 in the data folder that the server of `environment` will have."""
    m.run("runtime", "add-sdk", m.PYTHON, "--data", tmp_path / "data")


@pytest.fixture
def environment(fresh, tmp_path):
    server = fresh()
    folder = tmp_path / "tour"
    folder.mkdir()
    bin_folder = tmp_path / "bin"
    bin_folder.mkdir()
    (bin_folder / "mayfly").symlink_to(m.BINARY)
    env = m.clean_environment() | {
        "PATH": f"{bin_folder}:{m.BIN}:{os.environ['PATH']}",
        "MAYFLY_DATA": str(server.data),
        "MAYFLY_LISTEN": f"127.0.0.1:{server.port}",
    }
    return env, folder


def test_the_tour(environment):
    env, folder = environment
    commands = [text.replace("python3.11", m.PYTHON) for text, _ in steps("README.md")]
    # What is logged and counted arrives a moment later; a reader is slower than a script.
    wait = "until {} | grep {} > /dev/null; do sleep 0.2; done\n"
    commands = [
        wait.format("aws logs filter-log-events --log-group-name /aws/lambda/hello", "REPORT")
        + wait.format("aws cloudwatch list-metrics --namespace AWS/Lambda --metric-name Invocations", "hello")
        + text
        if "aws logs filter" in text
        else text
        for text in commands
    ]
    compare(steps("README.md"), shell(commands, env, folder))


def test_the_alarm_clock(sdk, environment):
    env, folder = environment
    commands = [text.replace("python3.11", m.PYTHON) for text, _ in steps("docs/alarm-clock.md")]
    compare(steps("docs/alarm-clock.md"), shell(commands, env, folder))


def test_make_run(tmp_path):
    """What `make run` does once the binary is built."""
    port = m.free_port()
    ended = subprocess.run(
        [m.ROOT / "scripts" / "demo"],
        env=m.clean_environment()
        | {
            "MAYFLY_BIN": str(m.BINARY),
            "MAYFLY_DATA": str(tmp_path / "data"),
            "MAYFLY_LISTEN": f"127.0.0.1:{port}",
            "DEMO_EXIT": "1",
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=240,
    )
    assert ended.returncode == 0, ended.stdout
    for words in ('"value1"', "START RequestId", "REPORT RequestId", "mayfly env"):
        assert words in ended.stdout, ended.stdout
