# what other engines dump: recognised from the content
sglang='{"logical_count": [[0,0,0,0],[9,3,2,2],[4,4,6,2]]}'
echo "$sglang" > sglang.json
# which rows are MoE layers is not guessed
run eplb-report sglang.json --ep_size 2
run eplb-report sglang.json --first_moe_layer 1
run eplb-report sglang.json --first_moe_layer 1 --ep_size 2
run eplb-report sglang.json --moe_layers 1-2 --ep_size 2 --format csv
run eplb-report sglang.json --first_moe_layer 2 --ep_size 2
run eplb-report sglang.json --moe_layers 1-5 --ep_size 2
# the model's config.json says it too
echo '{"model_type": "deepseek_v3", "n_routed_experts": 4, "num_experts_per_tok": 2, "num_hidden_layers": 3, "first_k_dense_replace": 1}' > config.json
run eplb-report sglang.json --model_config config.json --ep_size 2 --format csv

# rows of MoE layers alone, and rows that may be either
echo '{"load_history": [{"logical_expert_load": [[9,3,2,2],[4,4,6,2]]}, {"logical_expert_load": [[8,4,2,2],[3,5,6,2]]}]}' > vllm.json
run eplb-report vllm.json --ep_size 2
run eplb-report vllm.json --ep_size 2 --first_moe_layer 3
echo '{"counts": [[9,3,2,2],[4,4,6,2]], "num_layers": 2, "num_experts": 4, "src": "dump.pt"}' > counts.json
run eplb-report counts.json --ep_size 2
run eplb-report counts.json --ep_size 2 --moe_layers 3,4

# routed ids
mkdir esft
printf '0\t1\t0\t2\t\t0.7\t0.3\t0.6\t0.4\n3\t1\t0\t2\t\t0.7\t0.3\t0.6\t0.4\n' | tee esft/layer_3.txt > esft/layer_4.txt
run eplb-report esft --ep_size 2
run eplb-report esft --ep_size 2 --num_experts 6
run eplb-report esft --ep_size 2 --first_moe_layer 3
printf '%s\n' '{"type":"meta","model_id":"m","layers_logged":[3],"top_k":2}' \
    '{"type":"route","req_id":"a","token_idx":0,"layer":3,"topk_ids":[1,3],"topk_weights":[0.6,0.4]}' \
    '{"type":"route","req_id":"a","token_idx":1,"layer":3,"topk_ids":[1,2],"topk_weights":[0.6,0.4]}' > trace.jsonl
run eplb-report trace.jsonl --ep_size 2 --num_experts 4
run "eplb-report - --input_format routing-trace --ep_size 2 --num_experts 4 < trace.jsonl"

# torch files: recognised, read, refused
torch="$SOURCE/tests/data/formats/torch"
cp -r "$torch/stat.pt" "$torch/per_pass" "$torch/per_token" .
run eplb-report stat.pt --first_moe_layer 1 --ep_size 2 --format csv
run eplb-report per_pass --format csv
run eplb-report per_token --ep_size 2 --format csv
for name in call.pt legacy.pt compressed.pt no_dump.pt; do
    cp "$torch/$name" .
    run eplb-report $name --ep_size 2
done
# a format by name, and what is none
run eplb-report sglang.json --input_format stream
run eplb-report sglang.json --input_format sglang-stat
run eplb-report sglang.json --input_format no-such
echo '{"physical_to_logical_map": [[0,1]]}' > map.json
run eplb-report map.json
echo '{"what": 1}' > other.json
run eplb-report other.json

# odd recordings
echo '{"logical_count": [[[9,3,2,2]],[[9,3,2,2]],[[0,0,0,0]],[[1,2,3,4]]]}' > odd.json
run eplb-report odd.json --ep_size 2 --first_moe_layer 0

# placements from them
run eplb-gen sglang.json --first_moe_layer 1 --num_slots 6 -o -
run eplb-gen sglang.json --first_moe_layer 1 --ep_size 2 --num_slots 6 -o -
