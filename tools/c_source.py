#!/usr/bin/python3
"""Which C files a check looks at, and how it reports: shared by the tools/check-* scripts.

As a program it prints the files:  tools/c_source.py [--changed] [FILE or FOLDER…]
--changed: those that differ from the base commit (MUSTER_BASE, else where origin/main was left, else HEAD).
"""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SKIPPED_FOLDERS = {"build", ".git", "run"}


def git(*arguments):
    """The output lines of a git command, or None where there is no git or no repository."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.splitlines() if done.returncode == 0 else None


def all_paths():
    """Every file of the project: tracked, or new and not ignored."""
    listed = git("ls-files", "-co", "--exclude-standard")
    if listed is not None:
        return sorted(path for path in set(listed) if os.path.isfile(os.path.join(ROOT, path)))
    found = []
    for folder, folders, names in os.walk(ROOT):
        folders[:] = [name for name in folders if name not in SKIPPED_FOLDERS]
        found += [os.path.relpath(os.path.join(folder, name), ROOT) for name in names]
    return sorted(found)


def changed_paths():
    """What differs from the base commit; everything where there is no git."""
    base = os.environ.get("MUSTER_BASE")
    if not base:
        merge_base = git("merge-base", "HEAD", "origin/main")
        base = merge_base[0] if merge_base else "HEAD"
    differing = git("diff", "--name-only", base)
    fresh = git("ls-files", "-o", "--exclude-standard")
    if differing is None or fresh is None:
        return all_paths()
    return sorted(path for path in set(differing + fresh) if os.path.isfile(os.path.join(ROOT, path)))


def arguments(*options):
    """The arguments of the program that runs; -h and --help print its docstring and end it, other options than these are refused."""
    given = sys.argv[1:]
    if "-h" in given or "--help" in given:
        print(sys.modules["__main__"].__doc__.strip())
        sys.exit(0)
    for argument in given:
        if argument.startswith("-") and argument not in options:
            print(f"{os.path.basename(sys.argv[0])}: unknown option '{argument}'; --help lists them", file=sys.stderr)
            sys.exit(2)
    return given


def files(arguments, suffixes=(".c", ".h")):
    """The files that a check's arguments name, relative to the root; all of them without arguments."""
    wanted = [os.path.relpath(os.path.abspath(a), ROOT) for a in arguments if not a.startswith("-")]
    paths = changed_paths() if "--changed" in arguments else all_paths()
    for folder in wanted:
        if folder != "." and not os.path.exists(os.path.join(ROOT, folder)):
            sys.exit(f"{folder}: no such file or folder")
    return [path for path in paths if path.endswith(suffixes)
            and (not wanted or any(f == "." or path == f or path.startswith(f + "/") for f in wanted))]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        return file.read()


def without_comments(text, keep_strings=True):
    """The text with comments (and string contents, if asked) blanked out, so that line numbers stay."""
    def blank(match):
        token = match.group(0)
        if token.startswith("/"):
            return re.sub(r"[^\n]", " ", token)
        return token if keep_strings else token[0] + " " * (len(token) - 2) + token[-1]
    return re.sub(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.DOTALL)


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def report(check, findings):
    """Prints the findings, one sentence each, and ends the program: 1 if there are any."""
    for finding in findings:
        print(finding)
    if findings:
        print(f"check-{check}: {len(findings)} finding{'s' if len(findings) != 1 else ''}")
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    print("\n".join(files(arguments("--changed"))))
