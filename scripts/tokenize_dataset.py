#!/usr/bin/env python3
"""Turns prompts, and answers where they were recorded, into the token ids of a model.

    tokenize_dataset.py MODEL_DIR prompts.jsonl > dataset.json

MODEL_DIR holds the model's tokenizer.json, and tokenizer_config.json beside it. Each line of
prompts.jsonl is a JSON object with text in "prompt", else in "text"; an answer to it may stand in
"output", "response", "completion" or "answer", of which the first that is there counts. Other
members are ignored, blank lines skipped.

Out comes what TensorRT-LLM's prepare_dataset.py --stdout writes, one line per request, and
"output_ids" with it where there is an answer:

    {"task_id":0,"input_ids":[0,3476,477],"output_tokens":2,"output_ids":[1042,1]}

Prompts get the special tokens that the tokenizer adds, and BOS also where only "add_bos_token" of
tokenizer_config.json asks for it; answers get none. "output_tokens" is the length of the answer,
else the line's own "output_tokens", else 1.

Needs the package tokenizers; --chat also transformers and jinja2.
"""

import argparse
import json
import os
import signal
import sys

PROMPT_KEYS = ("prompt", "text")
ANSWER_KEYS = ("output", "response", "completion", "answer")


class Error(Exception):
    """What is wrong, and what to do about it."""


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model_dir", metavar="MODEL_DIR", help="folder of tokenizer.json")
    parser.add_argument("prompts", metavar="PROMPTS", help="JSON lines; - is standard input")
    parser.add_argument("--chat", action="store_true",
                        help="put each prompt into the model's chat template, as the message of a "
                             "user that the assistant is to answer")
    parser.add_argument("--max_tokens", type=int,
                        help="keep the first MAX_TOKENS of a prompt, special tokens included, and "
                             "cut its end off; answers stay whole")
    parser.add_argument("--limit", type=int, help="stop after LIMIT requests")
    args = parser.parse_args()
    for name in ("max_tokens", "limit"):
        if getattr(args, name) is not None and getattr(args, name) < 1:
            parser.error(f"--{name} must be at least 1")
    return args


def load_tokenizer(model_dir):
    """The tokenizer, and the id of BOS where tokenizer_config.json asks for it."""
    try:
        from tokenizers import Tokenizer
    except ImportError:
        raise Error("the package tokenizers is missing; pip install tokenizers") from None
    path = os.path.join(model_dir, "tokenizer.json")
    if not os.path.isfile(path):
        raise Error(f"{model_dir}: holds no tokenizer.json; fetch the one of the model")
    try:
        tokenizer = Tokenizer.from_file(path)
    except Exception as error:  # tokenizers raises nothing more special
        raise Error(f"{path}: is no tokenizer: {error}") from None
    tokenizer.no_truncation()
    tokenizer.no_padding()
    bos = bos_token(os.path.join(model_dir, "tokenizer_config.json"))
    return tokenizer, None if bos is None else tokenizer.token_to_id(bos)


def bos_token(path):
    """BOS, where "add_bos_token" asks for it: tokenizer.json need not add it itself."""
    if not os.path.exists(path):
        return None
    with open(path, "rb") as file:
        try:
            config = dict(json.load(file))
        except (ValueError, TypeError):
            raise Error(f"{path}: is no JSON object; fetch it again") from None
    bos = config.get("bos_token") if config.get("add_bos_token") else None
    return bos["content"] if isinstance(bos, dict) else bos


def load_chat_template(model_dir):
    """A function from a prompt to the text that the model is given."""
    try:
        import jinja2
        from transformers import PreTrainedTokenizerFast
    except ImportError as error:
        raise Error(f"--chat needs the package {error.name}; "
                    "pip install transformers jinja2") from None
    try:
        tokenizer = PreTrainedTokenizerFast.from_pretrained(model_dir, local_files_only=True)
    except (OSError, ValueError) as error:
        raise Error(f"{model_dir}: {' '.join(str(error).split())}") from None
    if not tokenizer.chat_template:
        raise Error(f"{model_dir}: has no chat template; leave out --chat")

    def in_template(prompt):
        try:
            return tokenizer.apply_chat_template(
                [{"role": "user", "content": prompt}], tokenize=False, add_generation_prompt=True)
        except jinja2.TemplateError as error:
            raise Error(
                f"{model_dir}: the chat template fails: {error}; leave out --chat") from None

    return in_template


def parse_request(line, where):
    """The prompt, the answer or None, and the length of an answer that is not there."""
    try:
        request = json.loads(line)
    except (ValueError, RecursionError):
        raise Error(f"{where}is not JSON; prompts are one JSON object per line") from None
    if not isinstance(request, dict):
        raise Error(f"{where}is no JSON object")

    def text(keys):
        for key in keys:
            value = request.get(key)
            if value is None or value == "":
                continue
            if not isinstance(value, str):
                raise Error(f'{where}"{key}" is no text')
            try:
                value.encode()
            except UnicodeEncodeError:
                raise Error(f'{where}"{key}" holds half a surrogate pair') from None
            return value
        return None

    prompt = text(PROMPT_KEYS)
    if prompt is None:
        raise Error(f'{where}has no prompt; give its text in "prompt"')
    output_tokens = request.get("output_tokens", 1)
    if type(output_tokens) is not int or output_tokens < 0:
        raise Error(f'{where}"output_tokens" is no count')
    return prompt, text(ANSWER_KEYS), output_tokens


def tokenize(args):
    tokenizer, bos = load_tokenizer(args.model_dir)
    in_template = load_chat_template(args.model_dir) if args.chat else None
    name = "standard input" if args.prompts == "-" else args.prompts

    num_requests = 0
    with sys.stdin.buffer if args.prompts == "-" else open(args.prompts, "rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            prompt, answer, output_tokens = parse_request(line, f"{name}: line {number}: ")
            if in_template:  # a template writes the special tokens itself
                ids = tokenizer.encode(in_template(prompt), add_special_tokens=False).ids
            else:
                ids = tokenizer.encode(prompt).ids
                if bos is not None and ids[:1] != [bos]:
                    ids.insert(0, bos)
            request = {"task_id": num_requests, "input_ids": ids[:args.max_tokens],
                       "output_tokens": output_tokens}
            if answer is not None:
                request["output_ids"] = tokenizer.encode(answer, add_special_tokens=False).ids
                request["output_tokens"] = len(request["output_ids"])
            print(json.dumps(request, separators=(",", ":")), flush=True)
            num_requests += 1
            if num_requests == args.limit:
                break
    if num_requests == 0:
        raise Error(f"{name}: holds no prompt")


def main():
    # a reader that has seen enough, and Ctrl-C, end it without a word
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    args = parse_args()
    try:
        tokenize(args)
    except Error as error:
        message = str(error)
    except OSError as error:
        message = ": ".join(filter(None, (error.filename, error.strerror)))
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what could not be written
    else:
        return 0
    print(f"tokenize_dataset.py: error: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
