"""The documents for users: commands of getting-started.md are run one after the other, its files are those of examples/digits,
and operations.md and tf_config.md name all there is."""
import json
import os
import pathlib
import re
import shutil
import subprocess

from processes import Port, SANITIZER

ROOT = pathlib.Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
DIGITS = ROOT / "examples" / "digits"


def blocks(text, language):
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def commands(text):
    """The shell commands of the page: indented lines, and blocks marked sh, in order."""
    found = []
    for match in re.finditer(r"^```sh\n(.*?)^```|^((?:    \S[^\n]*\n)+)|^```.*?^```", text, re.DOTALL | re.MULTILINE):
        if match.group(1) or match.group(2):
            found.append(match.group(1) or re.sub(r"^    ", "", match.group(2), flags=re.MULTILINE))
    return found


def test_getting_started_shows_the_files_of_the_example():
    text = (DOCS / "getting-started.md").read_text()
    assert blocks(text, "python") == [(DIGITS / name).read_text() for name in ("make_model.py", "make_data.py")]
    assert blocks(text, "json") == [(DIGITS / "job.json").read_text()]


def test_getting_started_works(binary, tmp_path):
    """All but the first command, which installs packages and builds."""
    for path in DIGITS.iterdir():
        if path.is_file():
            shutil.copy(path, tmp_path)
    first, path_line, *others = commands((DOCS / "getting-started.md").read_text())
    assert first == "tools/demo\n" and path_line.startswith('export PATH="$PWD/build/release:$PATH"\n')
    script = "set -eux\n" + "".join([path_line.partition("\n")[2], *others])
    ports = [Port() for _ in range(3)]
    for port, written in zip(ports, (2220, 2221, 2223)):
        assert script.count(f"localhost:{written}") == 1
        script = script.replace(f"localhost:{written}", port.address)
    environment = {**os.environ, "PATH": f"{binary.parent}:{os.environ['PATH']}"}
    environment.pop("TF_CONFIG", None)
    with open(tmp_path / "said", "w") as said:
        ended = subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environment, stdout=said, stderr=subprocess.STDOUT,
                               timeout=180, check=False)
    for port in ports:
        port.close()
    assert ended.returncode == 0, (tmp_path / "said").read_text()[-4000:]
    assert not SANITIZER.search((tmp_path / "said").read_text())
    results = {name: json.loads((tmp_path / name / "result.json").read_text()) for name in ("run", "second", "alone", "flowers/run")}
    assert {name: result["status"] for name, result in results.items()} == dict.fromkeys(results, "finished")
    assert all(result["eval"]["accuracy"] > 0.9 for result in results.values()), results


def test_links_of_the_documents_lead_somewhere():
    pages = [ROOT / "README.md", ROOT / "cluster-specs" / "README.md", *DOCS.glob("*.md"), *(ROOT / "examples").glob("*/*.md")]
    broken = [f"{page.relative_to(ROOT)}: {target}" for page in pages
              for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()) if not (page.parent / target).exists()]
    assert broken == []


def test_operations_names_every_metric_and_exit_code():
    text = (DOCS / "operations.md").read_text()
    sources = [path for room in ("common", "ps", "worker", "chief", "cli") for path in (ROOT / room).rglob("*.c")]
    metrics = {name for path in sources for name in re.findall(r'mst_metric_\w+\(\s*"(muster_\w+)"', path.read_text())}
    assert len(metrics) >= 10
    assert {name for name in metrics if name not in text} == set(), "describe them in docs/operations.md"
    codes = set(re.findall(r"^ *X\(.*, (\d+)\) *\\?$", (ROOT / "include" / "muster" / "status.h").read_text(), re.MULTILINE))
    table = text.partition("## Exit codes")[2].partition("\n## ")[0]
    assert codes >= {"0", "1", "2", "138", "143"}
    assert codes - set(re.findall(r"^\| (\d+)", table, re.MULTILINE)) == set()


def test_tf_config_and_kubernetes_name_every_example():
    specs = ROOT / "cluster-specs"
    for page, folder in (("tf_config.md", "tf-config"), ("kubernetes.md", "kubernetes")):
        text = (DOCS / page).read_text()
        assert [path.name for path in sorted((specs / folder).iterdir()) if f"`{path.name}`" not in text] == []


def test_refusals_shown_in_tf_config_are_those_of_the_golden_cases():
    golden = (ROOT / "tests" / "golden" / "config" / "tf_config.txt").read_text()
    shown = re.findall(r"^muster: (.*)$", (DOCS / "tf_config.md").read_text(), re.MULTILINE)
    assert len(shown) == 3 and [sentence for sentence in shown if sentence not in golden] == []
