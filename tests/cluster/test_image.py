"""The Dockerfile, which cannot be built here: what its lines say must agree with tools/setup, the manifests and the tree."""
import fnmatch
import json
import pathlib
import re
import subprocess

import manifests

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEBIAN = "debian:bookworm-slim"


def stages():
    """{stage: (what it is from, [(instruction, rest)])}"""
    text = re.sub(r"\\\n\s*", "", (ROOT / "Dockerfile").read_text())
    made = {}
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        instruction, _, rest = line.partition(" ")
        if instruction == "FROM":
            base, name = rest.split(" AS ")
            made[name] = (base, [])
            lines = made[name][1]
        else:
            lines.append((instruction, rest))
    return made


def said(stage, instruction):
    return [rest for one, rest in stages()[stage][1] if one == instruction]


def setup_list(group):
    listed = subprocess.run([ROOT / "tools" / "setup", "--list", group], capture_output=True, text=True, check=True)
    return set(listed.stdout.split())


def test_stages():
    assert {name: base for name, (base, _) in stages().items()} == {"build": DEBIAN, "runtime": DEBIAN, "demo": "runtime",
                                                                    "muster": "runtime"}
    assert list(stages())[-1] == "muster", "what a build without --target makes"


def test_the_compiler_stays_in_the_build():
    assert said("build", "RUN") == ["tools/setup package", "tools/package --no-setup"]
    assert all(copied.startswith("--from=build /src/build/package/") for copied in said("runtime", "COPY"))
    assert not said("demo", "COPY") and not said("muster", "COPY")


def test_packages_are_those_of_tools_setup():
    installed = [word for stage in stages() for run in said(stage, "RUN")
                 for command in re.findall(r"apt-get -q -y install --no-install-recommends ([^&]*)", run)
                 for word in command.split()]
    assert installed == ["/tmp/muster_*.deb", "dataset-fashion-mnist"]
    assert "dataset-fashion-mnist" in setup_list("demo")
    # The package is made of what the demo builds, and nothing of the demo's compiler is left out.
    assert setup_list("demo") - {"dataset-fashion-mnist"} <= setup_list("package")


def test_it_runs_as_the_user_of_the_manifests_and_without_a_shell():
    [entry] = said("runtime", "ENTRYPOINT")
    assert json.loads(entry) == ["muster"], "the exec form"
    for stage in ("runtime", "demo"):
        user = said(stage, "USER")[-1]
        for way in manifests.WAYS:
            for pod in manifests.PODS[way]():
                context = pod["spec"]["securityContext"]
                assert user == f"{context['runAsUser']}:{context['runAsGroup']}"
    # What a stage for root installs, the last USER takes back.
    assert said("demo", "USER")[0] == "0:0"


def test_the_manifests_name_the_image_of_the_demo():
    first_lines = (ROOT / "Dockerfile").read_text()
    [tag] = re.findall(r"docker build --target demo -t (\S+) \.", first_lines)
    version = re.search(r"project\(muster VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text()).group(1)
    assert tag == f"muster-demo:{version}"
    images = {pod["spec"]["containers"][0]["image"] for way in manifests.WAYS for pod in manifests.PODS[way]()}
    assert images == {tag}


def test_the_context_has_what_the_build_reads():
    ignored = {line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")}
    assert {"build", ".git"} <= ignored
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    left_out = [path for path in tracked for rule in ignored
                if fnmatch.fnmatch(path, rule) or path.split("/")[0] == rule]
    assert left_out == []
