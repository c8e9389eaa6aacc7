"""Trains segments one after another in one process on one code path of the image's trainer.

`/in/runs.json`: {"env", "threads", "onednn", "runs": [{"name", "weights", "data", "task", "skip"}]},
files by their names under `/in`. A run leaves out the steps in `skip`, as a lazy executor would, and
writes what the trainer writes to `/out/<name>`. `env` chooses the instruction set: a task cannot.
"""

import json
import os
import sys
import time

sys.path.insert(0, "/opt/ctd")
import trainer

with open("/in/runs.json", encoding="utf-8") as file:
    ASKED = json.load(file)
# Before torch is loaded, because its libraries read it then.
os.environ.update(trainer.KERNELS | ASKED["env"])
import torch

import trainer_tasks as tasks
import trainer_tensors as tensors


def run(name: str, weights: str, data: str, task: dict, skip: list[int]) -> None:
    """One segment: the steps of `trainer_tasks.train`, but for those left out."""
    start = tasks.read_weights(f"/in/{weights}", task["model"])
    parameters = tasks.FlatParameters(start)
    rows = tasks.family_of(task["model"]).read_data(f"/in/{data}", task["model"])
    stream = tasks.batches(task["seed"], tasks.row_count(rows), task["batchSize"], task["startStep"])
    taken = [step for step in range(task["steps"]) if step not in skip]
    picked = (batch for step, batch in enumerate(stream) if step in taken)
    rates = [task["learningRates"][step] for step in taken]
    done = task | {"steps": len(taken), "learningRates": rates}
    metrics = tasks.learn(done, parameters, lambda: tasks.take_rows(rows, next(picked)))
    tasks.OUT = f"/out/{name}"
    os.makedirs(tasks.OUT)
    update = ((key, start[key] - leaf.detach()) for key, leaf in parameters.named.items())
    tasks.write_update(update, task.get("compression", "int8"))
    tensors.write_json(f"{tasks.OUT}/metrics.json", metrics)


def main() -> None:
    torch.set_num_threads(ASKED["threads"])
    torch.backends.mkldnn.enabled = ASKED["onednn"]
    started = time.monotonic()
    for number, one in enumerate(ASKED["runs"], start=1):
        run(**one)
        line = {"ev": "progress", "step": number, "total": len(ASKED["runs"])}
        with open(os.environ["CTD_PROGRESS"], "a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
    about = {"capability": torch.backends.cpu.get_cpu_capability()}
    tensors.write_json("/out/about.json", about | {"seconds": round(time.monotonic() - started, 3)})


if __name__ == "__main__":
    main()
