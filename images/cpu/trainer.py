"""Runs one task: local steps on a shard, an evaluation, work over rows, or the reference loop.

`/in/task.json` says which. Same inputs, same bytes: one thread, no dropout, an order of rows and
learning rates that come from the task, an optimiser that starts from zero. Progress goes to the
file named by CTD_PROGRESS and is part of no result.

Exit codes: 0 done, 10 bad input, 11 the loss is no number, 12 out of memory, 143 stopped.
"""

import json
import os
import signal
import sys
import threading

IN, OUT = os.environ.get("CTD_IN", "/in"), os.environ.get("CTD_OUT", "/out")
EXIT_BAD_INPUT, EXIT_NOT_FINITE, EXIT_OUT_OF_MEMORY, EXIT_STOPPED = 10, 11, 12, 143
# Fixes the kernels; set before torch is loaded, because its libraries read it then.
KERNELS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "passive",
    "ATEN_CPU_CAPABILITY": "avx2",
    "OPENBLAS_CORETYPE": "Haswell",
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "MKL_CBWR": "AVX2,STRICT",
}


def stop_on_sigterm() -> None:
    """Ends the program at once on SIGTERM, also inside a long kernel and as process 1."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})

    def wait() -> None:
        signal.sigwait({signal.SIGTERM})
        remove_temporary_files()
        os._exit(EXIT_STOPPED)

    threading.Thread(target=wait, daemon=True).start()


def remove_temporary_files() -> None:
    """Leaves nothing in OUT that was not finished."""
    for name in os.listdir(OUT) if os.path.isdir(OUT) else []:
        if name.startswith(".tmp-"):
            os.unlink(os.path.join(OUT, name))


def run_task() -> None:
    """Reads the task and hands it to the function of its kind."""
    import trainer_tasks as tasks

    with open(f"{IN}/task.json", encoding="utf-8") as file:
        task = json.load(file)
    kind = task["kind"]
    if kind == "train":
        tasks.train(task)
    elif kind == "eval":
        tasks.evaluate(task)
    elif kind in ("embed", "generate"):
        import inference

        {"embed": inference.embed, "generate": inference.generate}[kind](task)
    elif kind == "reference":
        from reference import run_reference

        run_reference(task)
    else:
        raise ValueError(f"task.json: unknown kind {kind!r}")


def exit_code(error: Exception) -> int | None:
    """The code that tells a daemon what to do about a failure; None for a defect of ours."""
    import trainer_tasks as tasks
    import trainer_tensors as tensors

    if isinstance(error, tasks.NotFinite):
        return EXIT_NOT_FINITE
    # torch reports a failed allocation as a RuntimeError that only its message tells apart.
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return EXIT_OUT_OF_MEMORY
    if isinstance(error, (tensors.BadInput, OSError, ValueError, KeyError, TypeError)):
        return EXIT_BAD_INPUT
    return None


def main() -> int:
    stop_on_sigterm()
    for name, value in KERNELS.items():
        os.environ.setdefault(name, value)
    try:
        run_task()
        return 0
    except Exception as error:
        remove_temporary_files()
        code = exit_code(error)
        if code is None:
            raise
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return code


if __name__ == "__main__":
    sys.exit(main())
