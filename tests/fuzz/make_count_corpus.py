#!/usr/bin/env python3
"""Writes the first files of data/corpus for readers of counts in text formats: good ones, and one of
each kind of bad one.

Nothing is expected of the content but that readers survive it, so nothing here need be exact.
"""

import os

CORPUS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "data", "corpus")

# bad values of any key that holds nested lists of counts
BAD_COUNTS = {
    "bad_ragged": "[[1,2],[3]]",
    "bad_empty_list": "[[1],[]]",
    "bad_depths": "[[1],2]",
    "bad_deep": "[[[[1]]]]",
    "bad_negative": "[[1,-2]]",
    "bad_fraction": "[[1,2.5]]",
    "bad_absurd": "[[1,1e300]]",
    "bad_out_of_range": "[[1,1e999]]",
    "bad_nan": "[[1,NaN]]",
    "bad_null": "[[null]]",
    "bad_cut_off": "[[1,2],[3,",
    "bad_scalar": "5",
}

META = '{"type":"meta","seed":null,"layers_logged":[7,3],"top_k":2}'
ROUTE = '{"type":"route","req_id":"a","token_idx":0,"layer":%d,"topk_ids":[%s]}'


def write(target, files):
    folder = os.path.join(CORPUS, target)
    os.makedirs(folder, exist_ok=True)
    for name, content in files.items():
        with open(os.path.join(folder, name), "w", newline="") as file:
            file.write(content)


def write_json():
    def sglang(value):
        return '{"logical_count":' + value + "}"

    def summed(value):
        return '{"counts":' + value + ',"num_layers":2,"num_experts":2,"src":"a.pt"}'

    def history(value):
        return '{"load_history":[{"logical_expert_load":[[1,2],[3,4]],"step":1},' \
               '{"logical_expert_load":' + value + "}]}"

    good = "[[1,2.0],[3e0,4]]"
    for target, document in (("sglang_json", sglang), ("counts_json", summed),
                             ("vllm_history", history)):
        files = {name: document(value) for name, value in BAD_COUNTS.items()}
        files["good"] = document(good)
        files["good_spaces"] = document(" [ [ 1 , 2 ] ,\n [ 3 , 4 ] ] ")
        files["good_other_keys"] = '{"a":{"b":[[],{}]},"c":"\\u00fc",' + document(good)[1:]
        files["bad_key_twice"] = document(good)[:-1] + "," + document(good)[1:]
        files["bad_end"] = document(good) + "}"
        files["bad_list"] = good
        files["bad_empty"] = ""
        write(target, files)
    write("sglang_json", {
        "good_steps": sglang("[[[1,2],[3,4]],[[5,6],[7,8]]]"),
        "good_unused_steps": sglang("[[[0,0]],[[1,2]],[[0,0]]]"),
        "bad_unused_steps": sglang("[[[0,0]],[[0,0]]]"),
        "bad_placement": '{"physical_to_logical_map":[[0,1]]}',
    })
    write("counts_json", {
        "bad_num_layers": summed(good).replace('layers":2', 'layers":3'),
        "bad_num_experts": summed(good).replace('experts":2', 'experts":"2"'),
    })
    write("vllm_history", {
        "bad_no_entries": '{"load_history":[]}',
        "bad_no_counts": '{"load_history":[{"step":1}]}',
        "bad_entry": '{"load_history":[[[1,2]]]}',
        "bad_counts_twice": '{"load_history":[{"logical_expert_load":[[1]],'
                            '"logical_expert_load":[[1]]}]}',
    })


def write_esft():
    good = "0\t2\t2\t1\t\t0.5\t0.25\t0.1\t0.9\n3\t0\t\t0.0001\t1\n"
    write("esft_text", {
        "good": good,
        "good_crlf": good.replace("\n", "\r\n"),
        "good_two_layers": good + "\f" + good.replace("3\t0", "1\t2"),
        "bad_lines": good + "\f" + good[:good.index("\n") + 1],
        "bad_ids": good + "\f" + good.replace("3\t0\t\t0.0001\t1", "3\t\t0.0001"),
        "bad_empty": "",
        "bad_empty_line": "\n" + good,
        "bad_no_ids": "\t\t0.5\n",
        "bad_no_weights": "1\t2\n",
        "bad_few_weights": "1\t2\t\t0.5\n",
        "bad_weight": "1\t2\t\t0.5\tnan\n",
        "bad_negative": "1\t-2\t\t0.5\t0.5\n",
        "bad_absurd": "1\t99999\t\t0.5\t0.5\n",
        "bad_overflow": "1\t99999999999999999999\t\t0.5\t0.5\n",
        "bad_fraction": "1\t2.0\t\t0.5\t0.5\n",
    })


def write_trace():
    def trace(*lines):
        return "".join(line + "\n" for line in lines)

    def faulty(part, by):
        return trace(META, ROUTE % (3, "0,1"), (ROUTE % (7, "2,1")).replace(part, by))

    write("routing_trace", {
        "good": faulty("", ""),
        "good_interleaved": trace(META, ROUTE % (3, "0,1"),
                                  (ROUTE % (3, "0,1")).replace('"a"', "5"),
                                  (ROUTE % (7, "0,1")).replace('"a"', "5"), ROUTE % (7, "2,1")),
        "good_weights": faulty("[2,1]", '[2,1],"topk_weights":[0.5,1],"x":{"y":[null]}'),
        "bad_empty": "",
        "bad_blank": META + "\n\n",
        "bad_no_meta": trace(ROUTE % (3, "0,1")),
        "bad_no_routes": trace(META),
        "bad_two_metas": trace(META, META),
        "bad_layers_logged": trace(META.replace("[7,3]", "[3,3]")),
        "bad_top_k": trace(META.replace(":2", ":0")),
        "bad_layer": faulty(":7", ":4"),
        "bad_twice": faulty(":7", ":3"),
        "bad_token_idx": faulty("idx\":0", "idx\":9223372036854775807"),
        "bad_token_not_complete": faulty("idx\":0", "idx\":1"),
        "bad_few_ids": faulty("[2,1]", "[2]"),
        "bad_equal_ids": faulty("[2,1]", "[2,2]"),
        "bad_id": faulty("[2,1]", "[2,-1]"),
        "bad_absurd_id": faulty("[2,1]", "[2,99999]"),
        "bad_few_weights": faulty("[2,1]", '[2,1],"topk_weights":[1]'),
        "bad_kind": faulty("[2,1]", '"2,1"'),
        "bad_key_twice": faulty('"layer":7', '"layer":7,"layer":7'),
        "bad_cut_off": faulty("", "")[:-10],
    })


if __name__ == "__main__":
    write_json()
    write_esft()
    write_trace()
