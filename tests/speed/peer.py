"""lm-evaluation-harness in the interpreter of its own environment, asked line by line how long it takes.

    python peer.py MODEL

Reads JSON lines {"pairs": [[context, continuation], …], "batch": number} and answers each with one: {"seconds",
"processor", "log_likelihoods"}. Imports nothing of this project.
"""

import contextlib
import json
import os
import sys
import time
from importlib.metadata import version


def main() -> None:
    """Answer until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the harness prints; only answers may stand on standard output
    with contextlib.redirect_stdout(sys.stderr):
        import torch
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM

        torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
        model = HFLM(pretrained=sys.argv[1], device="cpu", dtype="bfloat16", batch_size=1)
        said = {"threads": torch.get_num_threads()}
        said.update((name, version(name)) for name in ("lm_eval", "transformers", "torch"))
        print(json.dumps(said), file=answers, flush=True)
        for line in sys.stdin:
            request = json.loads(line)
            model.batch_size_per_gpu = request["batch"]
            asked = [
                Instance(request_type="loglikelihood", doc={}, arguments=tuple(pair), idx=number)
                for number, pair in enumerate(request["pairs"])
            ]
            started, used = time.perf_counter(), time.process_time()
            found = model.loglikelihood(asked, disable_tqdm=True)
            answer = {
                "seconds": time.perf_counter() - started,
                "processor": time.process_time() - used,
                "log_likelihoods": [value for value, _ in found],
            }
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
