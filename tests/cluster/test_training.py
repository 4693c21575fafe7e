"""A job from start to end: processes from TF_CONFIG, a supervised cluster, one process alone; what it leaves behind."""
import json
import pathlib
import re

import pytest
import tiny_job

STEPS_PER_EPOCH = tiny_job.TRAIN_EXAMPLES // 16


def read_result(job):
    return json.loads((pathlib.Path(job["output"]["dir"]) / "result.json").read_text())


def check_finished(job, epochs):
    """result.json says that every example was trained on exactly once an epoch, and that it was learnt."""
    result = read_result(job)
    assert result["name"] == "tiny" and result["status"] == "finished"
    assert result["examples"] == epochs * tiny_job.TRAIN_EXAMPLES
    assert result["steps"] == epochs * STEPS_PER_EPOCH
    assert result["seconds"] > 0 and result["examples_per_second"] > 0 and result["first_step_seconds"] > 0
    # Four classes: chance is 0.25. The patterns separate well; an untrained or torn model stays far below.
    assert result["eval"]["accuracy"] > 0.9, result["eval"]
    assert result["train"]["loss"] < 1.4, "above -ln(1/4), as good as no training"
    return result


def check_checkpoint(result, job, n_ps):
    """The checkpoint that result.json names is a whole bundle, and the state file names it."""
    prefix = pathlib.Path(job["checkpoint"]["dir"]) / pathlib.Path(result["checkpoint"]).name
    assert prefix.name == f"model-{result['steps']}"
    assert prefix.with_name(prefix.name + ".index").stat().st_size > 0
    for shard in range(n_ps + 1):  # each PS's, and the chief's with `iterations`
        assert prefix.with_name(f"{prefix.name}.data-{shard:05}-of-{n_ps + 1:05}").exists()
    assert prefix.name in (prefix.parent / "checkpoint").read_text()
    leftovers = [path.name for path in prefix.parent.iterdir() if not path.name.startswith(("model-", "checkpoint"))]
    assert not leftovers, f"files that no checkpoint needs: {leftovers}"


def check_staleness(result):
    """Every step is in the histogram once, and the histogram fits mean and maximum."""
    staleness = result["staleness"]
    limits, counts = staleness["histogram"]["limits"], staleness["histogram"]["counts"]
    assert limits == [0, 1, 2, 4, 8, 16, 32, 64] and len(counts) == len(limits) + 1
    assert sum(counts) == result["steps"]
    edges = [-1, *limits, staleness["max"]]
    total = staleness["mean"] * result["steps"]
    assert sum(n * (edge + 1) for n, edge in zip(counts, edges) if n) <= total + 1e-6
    assert total <= sum(n * edge for n, edge in zip(counts, edges[1:])) + 1e-6
    assert (staleness["max"] == 0) == (sum(counts[1:]) == 0)


@pytest.mark.threads
def test_cluster_from_tf_config(cluster, job, write_job, muster):
    job_path = write_job(job)
    running = cluster(job_path)
    running.start_all()
    running.expect_all(0)
    result = check_finished(job, epochs=2)
    check_checkpoint(result, job, n_ps=2)
    named = {(role["role"], role["index"]) for role in result["roles"]}
    assert named >= {("chief", 0), ("ps", 0), ("ps", 1)} and named & {("worker", 0), ("worker", 1)}
    # The job is so short that one worker may come when the other has done it all, and hear no more than that.
    joined = {i for i in ("0", "1") if "worker: joined" in running[f"worker-{i}"].log()}
    assert joined and set(re.findall(r"worker admitted worker=(\d+)", running["chief-0"].log())) >= joined
    for role in result["roles"]:  # a worker's first heartbeat may come after the end of so short a job
        assert role["role"] == "worker" or (role["max_rss_bytes"] > 0 and role["cpu_seconds"] > 0), role
    check_staleness(result)
    assert list(pathlib.Path(job["output"]["dir"]).glob("**/model.json")), "no model directory"
    finished = running.progress("finished")
    assert len(finished) == 1 and finished[0]["result"] == result
    # What it left is enough to score the model again, and gives the same figures.
    again = muster("eval", job_path)
    again.expect(0)
    scored = json.loads(re.search(r"^\{.*\}", again.log(), re.MULTILINE | re.DOTALL).group(0))
    scored = scored.get("eval", scored)
    assert scored["accuracy"] == pytest.approx(result["eval"]["accuracy"], abs=1e-9)
    assert scored["loss"] == pytest.approx(result["eval"]["loss"], rel=1e-6)


def test_local_cluster(muster, job, write_job):
    process = muster("local", write_job(job), "--workers", "2", "--ps", "2")
    process.expect(0)
    check_checkpoint(check_finished(job, epochs=2), job, n_ps=2)
    said = process.log()
    assert "accuracy" in said
    assert job["output"]["dir"] in said, "it does not say where the results are"
    assert "\r" not in said and "\x1b" not in said, "no terminal, so plain lines"


@pytest.mark.threads
def test_one_process(muster, job, write_job):
    muster("run", write_job(job), "--threads", "1").expect(0)
    check_finished(job, epochs=2)


def test_worker_zero_coordinates_without_chief(cluster, job, write_job):
    running = cluster(write_job(job), n_workers=2, n_ps=1)
    running.roles.remove("chief-0")
    running.start_all()
    running.expect_all(0)
    check_finished(job, epochs=2)


def test_last_partial_batch_is_trained(muster, job, write_job):
    job["batch_size"] = 600  # 3 batches of 600 and one of 200
    muster("run", write_job(job), "--set", "epochs=1").expect(0)
    result = read_result(job)
    assert (result["examples"], result["steps"]) == (tiny_job.TRAIN_EXAMPLES, 4)


def test_periodic_checkpoints_are_kept_as_told(muster, job, write_job):
    job["checkpoint"].update(every_steps=50, keep=2, resume=True)
    for steps in (50, 100):  # so that there are more, however soon all is trained
        muster("run", write_job(job), "--set", "epochs=null", "--set", f"steps={steps}").expect(0)
    muster("run", write_job(job)).expect(0)
    kept = sorted(path.stem for path in pathlib.Path(job["checkpoint"]["dir"]).glob("*.index"))
    assert len(kept) == 2 and f"model-{2 * STEPS_PER_EPOCH}" in kept, kept


def test_resume_goes_on_from_the_newest_checkpoint(muster, job, write_job):
    del job["epochs"]
    job["steps"] = 100
    job_path = write_job(job)
    muster("run", job_path).expect(0)
    assert read_result(job)["checkpoint"].endswith("model-100")
    resumed = muster("run", job_path, "--set", "steps=160", "--set", "checkpoint.resume=true")
    resumed.expect(0)
    assert read_result(job)["checkpoint"].endswith("model-160")
    assert "model-100" in resumed.log(), "it does not say from where it resumed"


def test_a_torn_newest_checkpoint_is_passed_over(muster, job, write_job):
    del job["epochs"]
    job["steps"] = 100
    job["checkpoint"].update(every_steps=50, resume=True)
    job_path = write_job(job)
    muster("run", job_path, "--set", "steps=50").expect(0)
    muster("run", job_path).expect(0)
    folder = pathlib.Path(job["checkpoint"]["dir"])
    newest = next(folder.glob("model-100.data-*"))
    newest.write_bytes(newest.read_bytes()[:100])
    older = sorted(int(index.stem.split("-")[1]) for index in folder.glob("model-*.index"))[-2]
    assert 50 <= older < 100
    resumed = muster("run", job_path, "--set", "steps=120")
    resumed.expect(0)
    assert f"model-{older}" in resumed.log()
    assert read_result(job)["checkpoint"].endswith("model-120")
