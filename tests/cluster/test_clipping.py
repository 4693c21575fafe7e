"""clipnorm and global_clipnorm: how far one step moves the weights, in one process and over parameter servers."""
import math
import subprocess

import pytest

from checkpoint import weights_of

LIMIT = 0.05  # gradients of the first steps are longer: the test says so where they are not clipped


@pytest.fixture
def moved(binary, muster, job, write_job, tmp_path):
    """{variable: how far the second step moved it}, for an SGD of rate 1 with these options."""
    def run(*arguments):
        return subprocess.run([str(binary), *map(str, arguments)], cwd=tmp_path, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60)

    def inspect(*arguments):
        done = run(*arguments)
        return done.returncode, done.stdout, done.stderr

    def train(options, *command):
        weights = []
        job["compile"]["optimizer"] = {"class_name": "SGD", "config": {"learning_rate": 1.0} | options}
        for steps in (1, 2):
            folder = f"ckpt-{command[0]}-{'-'.join(options)}-{steps}"
            job.pop("epochs", None)
            job.update(steps=steps, checkpoint={"dir": str(tmp_path / folder)})
            muster(*command, write_job(job)).expect(0)
            weights.append(weights_of(inspect, tmp_path, f"{folder}/model-{steps}"))
        names = [name for name in weights[0] if "/" in name]
        return {name: math.dist(weights[0][name], weights[1][name]) for name in names}
    return train


COMMANDS = {"one process": ("run",), "cluster": ("local", "--workers", "1", "--ps", "2")}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_each_variable_moves_by_the_limit(moved, command):
    """The kernels are cut over two servers, and their norm is that of the whole."""
    free = moved({}, *command)
    limited = moved({"clipnorm": LIMIT}, *command)
    assert len(limited) == 4 and max(free.values()) > 2 * LIMIT, free
    for name, distance in limited.items():
        assert distance < LIMIT * 1.001, (name, distance)
    assert limited["dense/kernel"] == pytest.approx(LIMIT, rel=1e-3) and free["dense/kernel"] > LIMIT


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_all_variables_together_move_by_the_limit(moved, command):
    limited = moved({"global_clipnorm": LIMIT}, *command)
    assert math.hypot(*limited.values()) == pytest.approx(LIMIT, rel=1e-3), limited
    assert max(limited.values()) < 0.999 * LIMIT, "it is the length of all, not of each"
