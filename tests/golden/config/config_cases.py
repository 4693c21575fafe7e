"""The cases of tf_config.txt, whose form is described at its top."""
import dataclasses
import pathlib

GOLDEN = pathlib.Path(__file__).resolve().parent / "tf_config.txt"
FLAGS = ("--task-type", "--task-index", "--task-index-from")
OUTCOMES = ("prints", "refuses", "refuses-as-tf", "refuses-as-estimator")


@dataclasses.dataclass
class Case:
    name: str
    tf_config: str | None = None
    flags: dict = dataclasses.field(default_factory=dict)
    hostname: str | None = None
    environment: dict = dataclasses.field(default_factory=dict)
    outcome: str = ""
    expected: str = ""


def load():
    """All cases in order."""
    cases = []
    for line in GOLDEN.read_text(encoding="utf-8").splitlines():
        word, _, rest = line.partition(" ")
        if not line or line.startswith("#"):
            continue
        if word == "==":
            cases.append(Case(rest))
            continue
        case = cases[-1]
        if word == "TF_CONFIG":
            case.tf_config = rest
        elif word == "+":
            case.tf_config += "\n" + rest
        elif word in FLAGS:
            case.flags[word] = rest
        elif word == "hostname":
            case.hostname = rest
        elif word == "env":
            name, _, value = rest.partition("=")
            case.environment[name] = value
        elif word in OUTCOMES:
            case.outcome, case.expected = word, rest
        else:
            raise ValueError(f"{GOLDEN}: {line!r} begins with none of the known words")
    return cases
