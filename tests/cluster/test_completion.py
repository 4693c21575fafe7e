"""Completion in real shells, and manual pages through troff: what `muster completion` and `muster help` print."""
import os
import re
import shutil
import subprocess

import pytest

ASK_BASH = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _muster; printf "%s\\n" "${COMPREPLY[@]}"'


def output_of(*command, **options):
    done = subprocess.run([str(word) for word in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=60, **options)
    assert done.returncode == 0 and done.stderr == "", f"{command}: {done.returncode}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def script(binary, tmp_path_factory):
    """The path of the completion script for a shell."""
    folder = tmp_path_factory.mktemp("completion")

    def write(shell):
        path = folder / f"muster.{shell}"
        path.write_text(output_of(binary, "completion", shell))
        return path
    return write


def shell(name):
    return shutil.which(name) or pytest.skip(f"{name} is not installed")


@pytest.mark.parametrize("words, wanted, unwanted", [
    ([""], ["local", "run", "ckpt", "completion", "--version"], ["--workers"]),
    (["lo"], ["local"], ["run"]),
    (["local", "--w"], ["--workers"], ["--ps"]),
    (["local", "--"], ["--workers", "--log", "--help"], ["--task-type", "--checkpoint"]),
    (["run", "--"], ["--task-type", "--listen-fd"], ["--workers"]),
    (["local", "--log", ""], ["text", "json"], ["job.json"]),
    (["local", "--log", "=", "j"], ["json"], ["text"]),
    (["local", "--log", "="], ["json", "text"], ["job.json"]),
    (["predict", "--input", ""], ["job.json"], ["--format"]),
    (["local", "--workers", ""], [], ["job.json"]),
    (["local", "j"], ["job.json"], []),
    (["local", "--workers", "2", ""], ["job.json", "with space"], []),
    (["run", "--task-type", "w"], ["worker"], ["ps"]),
    (["ckpt", ""], ["ls", "inspect", "verify", "reshard", "diff"], ["--json"]),
    (["ckpt", "diff", "--"], ["--tolerance"], ["--shards"]),
    (["ckpt", "reshard", "job.json", ""], ["job.json", "with space"], ["--shards"]),
    (["ckpt", "ls", "--"], ["--json"], ["--set"]),
    (["help", "pre"], ["predict"], ["local"]),
    (["completion", ""], ["bash", "zsh", "fish"], []),
    (["nothing", "--"], [], ["--workers"]),
], ids=lambda value: " ".join(value) if isinstance(value, list) else None)
def test_bash(script, tmp_path, words, wanted, unwanted):
    for name in ("job.json", "with space"):
        (tmp_path / name).touch()
    out = output_of(shell("bash"), "--norc", "-c", ASK_BASH, "x", script("bash"), "muster", *words, cwd=tmp_path)
    got = out.split("\n")
    for word in wanted:
        assert word in got
    for word in unwanted:
        assert word not in got


def test_zsh(script, tmp_path):
    output_of(shell("zsh"), "-n", script("zsh"))
    out = output_of("zsh", "-fc", 'autoload -U compinit; compinit -u -d "$2"; source "$1"; print $_comps[muster]', "x",
                    script("zsh"), tmp_path / "dump")
    assert out == "_muster\n"


def test_fish(script, tmp_path):
    environment = dict(os.environ, HOME=str(tmp_path), XDG_CONFIG_HOME=str(tmp_path))
    output_of(shell("fish"), "-n", script("fish"))
    for line, word in (("muster lo", "local"), ("muster predict --format ", "jsonl"), ("muster ckpt ", "verify"),
                       ("muster ckpt ls --", "--json"), ("muster help pre", "predict")):
        out = output_of("fish", "-c", f"source {script('fish')}; complete -C'{line}'", env=environment)
        assert word in [one.split("\t")[0] for one in out.splitlines()], f"{line!r}: {out}"


@pytest.fixture(scope="module")
def pages(binary, tmp_path_factory):
    folder = tmp_path_factory.mktemp("man1")
    output_of(binary, "help", "--man-pages", folder)
    return sorted(folder.iterdir())


def test_a_page_for_each_command(binary, pages):
    names = [page.name for page in pages]
    listed = re.findall(r"^  (\w+) ", output_of(binary, "--help"), re.MULTILINE)
    assert len(listed) >= 8 and "muster.1" in names
    for command in listed:
        assert f"muster-{command}.1" in names or any(name.startswith(f"muster-{command}-") for name in names)


def test_troff_has_nothing_to_complain_of(pages):
    shell("groff")
    for page in pages:
        out = output_of("groff", "-man", "-ww", "-Kutf8", "-Tutf8", "-P-cbou", page)
        assert "NAME" in out and "OPTIONS" in out or page.name == "muster.1"


def test_pages_say_what_the_help_says(binary, pages):
    """The same words in the same order: a page is the help in another form."""
    shell("groff")
    for page in pages:
        if page.name == "muster.1":
            continue
        words = page.stem.split("-")[1:]
        helped = output_of(binary, *words, "--help").split("examples:")[0]
        paged = re.sub(r"\s+", "", output_of("groff", "-man", "-Kutf8", "-Tutf8", "-P-cbou", "-rLL=200n", page))
        for option in re.findall(r"^  (--.*?)(?=^  --|\Z)", helped, re.MULTILINE | re.DOTALL):
            assert re.sub(r"\s+", "", option) in paged, f"{page.name} lacks {option}"
