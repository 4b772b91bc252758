#!/usr/bin/env python3
"""Holds scripts/tokenize_dataset.py against the tokenizer's own ids, with a tokenizer trained here.

Skipped where the package tokenizers is not installed, the tests of --chat where transformers or
jinja2 is not.
"""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).resolve().parent.parent.parent / "scripts" / "tokenize_dataset.py"
SKIPPED = 77
TEXTS = ["The quick brown fox jumps over the lazy dog.", "Pack my box with five dozen liquor jugs!"]


def installed(*packages):
    return all(importlib.util.find_spec(package) for package in packages)


def make_tokenizer():
    """Byte-level BPE that puts BOS before and EOS behind a text, as some models' do."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.train_from_iterator(TEXTS, trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<bos>", "<eos>"], show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet()))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A <eos>", special_tokens=[("<bos>", 0), ("<eos>", 1)])
    return tokenizer


class TokenizeDataset(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.tokenizer = make_tokenizer()
        self.tokenizer.save(str(self.folder / "tokenizer.json"))

    def run_script(self, *arguments, lines=b"", **environment):
        return subprocess.run(
            [sys.executable, SCRIPT, *arguments], cwd=self.folder, input=lines, check=False,
            capture_output=True, env={**os.environ, **environment})

    def requests(self, lines, *options):
        """What comes of these lines on standard input."""
        result = self.run_script(".", "-", *options, lines=b"".join(
            line if isinstance(line, bytes) else json.dumps(line).encode() + b"\n"
            for line in lines))
        self.assertEqual((result.stderr.decode(), result.returncode), ("", 0))
        return [json.loads(line) for line in result.stdout.splitlines()]

    def assert_error(self, result, message, returncode=1):
        self.assertEqual((result.stderr.decode().splitlines()[-1], result.returncode),
                         (f"tokenize_dataset.py: error: {message}", returncode))

    def ids(self, text, special=True):
        return self.tokenizer.encode(text, add_special_tokens=special).ids

    def test_ids_are_the_tokenizers_own(self):
        texts = TEXTS + ["naïve 深度 🦊", " \n", "<bos>"]
        requests = self.requests([{"prompt": text} for text in texts])
        self.assertEqual(requests, [{"task_id": i, "input_ids": self.ids(text), "output_tokens": 1}
                                    for i, text in enumerate(texts)])

    def test_answers_get_no_special_tokens(self):
        requests = self.requests([{"prompt": TEXTS[0], key: TEXTS[1], "output_tokens": 3}
                                  for key in ("output", "response", "completion", "answer")])
        answer = self.ids(TEXTS[1], special=False)
        self.assertNotIn(0, answer)
        for request in requests:
            self.assertEqual(request["output_ids"], answer)
            self.assertEqual(request["output_tokens"], len(answer))

    def test_first_member_with_text_counts(self):
        requests = self.requests([
            {"text": "b", "prompt": "a", "answer": "d", "output": "c"},
            {"prompt": None, "text": "b", "output": "", "output_tokens": 7, "id": [1]}])
        self.assertEqual(requests, [
            {"task_id": 0, "input_ids": self.ids("a"), "output_tokens": 1,
             "output_ids": self.ids("c", special=False)},
            {"task_id": 1, "input_ids": self.ids("b"), "output_tokens": 7}])

    def test_blank_lines_and_a_last_line_without_newline(self):
        requests = self.requests([b"\n", b" \r\n", b'{"prompt":"a"}\r\n', b"\n", b'{"prompt":"b"}'])
        self.assertEqual([request["task_id"] for request in requests], [0, 1])
        self.assertEqual(requests[1]["input_ids"], self.ids("b"))

    def test_truncation_cuts_the_prompts_end_only(self):
        request, = self.requests([{"prompt": TEXTS[0], "output": TEXTS[1]}], "--max_tokens", "3")
        self.assertEqual(request["input_ids"], self.ids(TEXTS[0])[:3])
        self.assertEqual(request["output_ids"], self.ids(TEXTS[1], special=False))

    def test_the_files_own_truncation_and_padding_are_off(self):
        tokenizer = make_tokenizer()
        tokenizer.enable_truncation(2)
        tokenizer.enable_padding(length=100)
        tokenizer.save(str(self.folder / "tokenizer.json"))
        request, = self.requests([{"prompt": TEXTS[0]}])
        self.assertEqual(request["input_ids"], self.ids(TEXTS[0]))

    def test_bos_that_only_the_config_asks_for(self):
        from tokenizers import processors
        plain = make_tokenizer()
        plain.post_processor = processors.ByteLevel(trim_offsets=False)
        plain.save(str(self.folder / "tokenizer.json"))
        answer = plain.encode("b").ids
        for bos in ("<bos>", {"__type": "AddedToken", "content": "<bos>"}):
            for adds in (True, False):
                (self.folder / "tokenizer_config.json").write_text(
                    json.dumps({"add_bos_token": adds, "bos_token": bos}), encoding="utf-8")
                request, = self.requests([{"prompt": TEXTS[0], "output": "b"}])
                self.assertEqual(request["input_ids"], [0] * adds + plain.encode(TEXTS[0]).ids)
                self.assertEqual(request["output_ids"], answer)
        # where tokenizer.json adds it, it comes once
        self.tokenizer.save(str(self.folder / "tokenizer.json"))
        request, = self.requests([{"prompt": TEXTS[0]}])
        self.assertEqual(request["input_ids"], self.ids(TEXTS[0]))

    def test_limit_stops_before_what_follows(self):
        requests = self.requests([{"prompt": "a"}, {"prompt": "b"}, b"no JSON"], "--limit", "2")
        self.assertEqual(len(requests), 2)

    def test_lines_are_spelled_as_upstream_spells_them(self):
        (self.folder / "prompts.jsonl").write_bytes(b'{"prompt":"a","output":"b"}\n')
        result = self.run_script(".", "prompts.jsonl")
        a, b = self.tokenizer.token_to_id("a"), self.tokenizer.token_to_id("b")
        self.assertEqual(result.stdout.decode(),
                         f'{{"task_id":0,"input_ids":[0,{a},1],"output_tokens":1,'
                         f'"output_ids":[{b}]}}\n')

    def test_errors_name_file_and_line(self):
        no_json = "is not JSON; prompts are one JSON object per line"
        no_prompt = 'has no prompt; give its text in "prompt"'
        for line, message in [(b"hello", no_json), (b'{"prompt":"a"', no_json), (b"\xff", no_json),
                              (b"[" * 100000, no_json), (b"[]", "is no JSON object"),
                              (b"{}", no_prompt), (b'{"prompt":""}', no_prompt),
                              (b'{"messages":[]}', no_prompt),
                              (b'{"prompt":[1]}', '"prompt" is no text'),
                              (b'{"prompt":"a","answer":3}', '"answer" is no text'),
                              (b'{"prompt":"\\ud800"}', '"prompt" holds half a surrogate pair'),
                              (b'{"prompt":"a","output_tokens":-1}',
                               '"output_tokens" is no count')]:
            with self.subTest(line=line[:40]):
                (self.folder / "prompts.jsonl").write_bytes(b'{"prompt":"a"}\n\n' + line + b"\n")
                result = self.run_script(".", "prompts.jsonl")
                self.assert_error(result, f"prompts.jsonl: line 3: {message}")
                self.assertEqual(len(result.stdout.splitlines()), 1)  # what came before is out
        self.assert_error(self.run_script(".", "-", lines=b"x"),
                          f"standard input: line 1: {no_json}")
        self.assert_error(self.run_script(".", "-"), "standard input: holds no prompt")
        self.assert_error(self.run_script(".", "none"), "none: No such file or directory")

    def test_errors_of_the_tokenizer_file(self):
        self.assert_error(
            self.run_script("none", "-"),
            "none: holds no tokenizer.json; fetch the one of the model")
        (self.folder / "tokenizer_config.json").write_text("[1]", encoding="utf-8")
        self.assert_error(self.run_script(".", "-"),
                          "./tokenizer_config.json: is no JSON object; fetch it again")
        (self.folder / "tokenizer.json").write_text("{}", encoding="utf-8")
        result = self.run_script(".", "-")
        self.assertIn(b"./tokenizer.json: is no tokenizer: ", result.stderr)
        self.assertEqual((result.stderr.count(b"\n"), result.returncode), (1, 1))

    def test_missing_packages(self):
        for package in ("tokenizers", "transformers"):
            (self.folder / f"{package}.py").write_text(
                f"raise ImportError(name={package!r})", encoding="utf-8")
        result = self.run_script(".", "-", PYTHONPATH=str(self.folder))
        self.assert_error(result, "the package tokenizers is missing; pip install tokenizers")
        (self.folder / "tokenizers.py").unlink()
        if installed("jinja2"):
            result = self.run_script(".", "-", "--chat", PYTHONPATH=str(self.folder))
            self.assert_error(result, "--chat needs the package transformers; "
                                      "pip install transformers jinja2")

    def test_usage_errors(self):
        for option in ("--max_tokens", "--limit"):
            self.assert_error(self.run_script(".", "-", option, "0"),
                              f"{option} must be at least 1", returncode=2)

    def test_a_reader_that_leaves_and_a_full_disk(self):
        lines = b'{"prompt":"a"}\n' * 10000
        (self.folder / "prompts.jsonl").write_bytes(lines)
        with subprocess.Popen([sys.executable, SCRIPT, ".", "prompts.jsonl"], cwd=self.folder,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            process.stdout.readline()
            process.stdout.close()
            self.assertEqual(process.stderr.read(), b"")
        if os.path.exists("/dev/full"):
            with open("/dev/full", "wb") as full:
                result = subprocess.run([sys.executable, SCRIPT, ".", "prompts.jsonl"], check=False,
                                        cwd=self.folder, stdout=full, stderr=subprocess.PIPE)
            self.assert_error(result, "No space left on device")

    @unittest.skipUnless(installed("transformers", "jinja2"), "needs transformers and jinja2")
    def test_chat_template(self):
        self.assertIn(b"has no chat template; leave out --chat",
                      self.run_script(".", "-", "--chat").stderr)
        template = ("{{ bos_token }}"
                    "{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %}"
                    "{% if add_generation_prompt %}[assistant]{% endif %}")
        config = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<bos>",
                  "chat_template": template}
        (self.folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
        result = self.run_script(".", "-", "--chat", lines=b'{"prompt":"a","output":"b"}')
        self.assertEqual(json.loads(result.stdout), {
            "task_id": 0, "input_ids": self.ids("<bos>[user] a[assistant]", special=False),
            "output_tokens": 1, "output_ids": self.ids("b", special=False)})
        self.assertEqual(json.loads(result.stdout)["input_ids"].count(0), 1)

        config["chat_template"] = "{{ raise_exception('no') }}"
        (self.folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
        result = self.run_script(".", "-", "--chat", lines=b'{"prompt":"a"}')
        self.assertIn(b"the chat template fails: no; leave out --chat", result.stderr)


if __name__ == "__main__":
    if not installed("tokenizers"):
        print("skipped: the package tokenizers is not installed")
        sys.exit(SKIPPED)
    unittest.main()
