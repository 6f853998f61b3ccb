"""Token ids of prompts with their options by transformers 4.57, which has its own class for each kind of tokenizer.

Run in an environment of its own: a request per line of stdin, an answer per line of stdout. A request names the
`folder`, the `form` (chat or plain), the `date` that templates are told, and `prompts`: a text, the cue after it, and
what may follow. An answer has for each prompt the ids of the prompt alone and with each option, or an `error`.
"""

import datetime
import json
import sys
from functools import lru_cache
from typing import Any

from transformers import AutoTokenizer
from transformers.utils import chat_template_utils


@lru_cache(maxsize=1)
def load(folder: str) -> Any:
    """The tokenizer of a model's folder by its class."""
    return AutoTokenizer.from_pretrained(folder)


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """The ids that one request asks for; `added` says whether a BOS was put before what the template renders."""
    today = datetime.datetime.fromisoformat(request["date"])

    class Pinned(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime.datetime:
            return today

    chat_template_utils.datetime = Pinned
    tokenizer = load(request["folder"])
    bos = tokenizer.bos_token
    adds = bos is not None and tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]
    encoded, added = [], False
    for prompt in request["prompts"]:
        if request["form"] == "chat":
            chat = [{"role": "user", "content": prompt["text"]}]
            begun = tokenizer.apply_chat_template(
                chat, add_generation_prompt=True, tokenize=False, **request["arguments"]
            )
            begun += prompt["cue"]
            special = adds and not begun.startswith(bos)
            added = added or special
        else:
            begun, special = prompt["text"] + prompt["cue"], True
        texts = [begun, *(begun + option for option in prompt["options"])]
        encoded.append([tokenizer(text, add_special_tokens=special)["input_ids"] for text in texts])
    return {"ids": encoded, "added": added}


for line in sys.stdin:
    try:
        result = answer(json.loads(line))
    except Exception as problem:
        result = {"error": f"{type(problem).__name__}: {problem}"[:300]}
    print(json.dumps(result), flush=True)
