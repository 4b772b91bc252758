# one placement in each engine's words
echo '{"logical_count": [[0,0,0,0],[9,3,2,2],[4,4,6,2]]}' > counts.json
echo '{"model_type": "deepseek_v3", "n_routed_experts": 4, "num_experts_per_tok": 2, "num_hidden_layers": 3, "first_k_dense_replace": 1}' > config.json
make="eplb-gen counts.json --model_config config.json --ep_size 2 --num_slots 6"
$make -o trtllm.yaml 2> /dev/null
run cat trtllm.yaml
for engine in sglang vllm-ascend hygon plain; do
    $make --output_format $engine --model_key m -o $engine.json 2> /dev/null
    run cat $engine.json
done
# each is told from its content, and turned into another without a loss
for engine in sglang vllm-ascend hygon plain; do
    run "eplb-gen --convert $engine.json --model_config config.json --ep_size 2 -o - | diff trtllm.yaml -"
done
# would it load?
run eplb-gen --validate sglang.json --for sglang --model_config config.json --ep_size 2
run eplb-gen --validate vllm-ascend.json --for vllm-ascend --model_config config.json --ep_size 2
run eplb-gen --validate hygon.json --for hygon --model_config config.json --ep_size 2
run eplb-gen --validate trtllm.yaml --for trtllm --model_config config.json --ep_size 2
run eplb-gen --validate trtllm.yaml --for trtllm --model_config config.json --ep_size 4
run eplb-gen --validate sglang.json --for sglang --model_config config.json
run eplb-gen --validate vllm-ascend.json --for sglang --model_config config.json --ep_size 2
echo '{"physical_to_logical_map": [[0,1,2,3,0,1],[0,1,2,3,0,1],[0,1,2,2,0,1]], "note": 1}' > broken.json
run eplb-gen --validate broken.json --for sglang --model_config config.json --ep_size 2
# what a format does not say must be given
run eplb-gen --convert sglang.json --output_format vllm-ascend -o -
run eplb-gen --convert sglang.json --moe_layers 1,2 --ep_size 2 --output_format vllm-ascend -o -
run eplb-gen --convert counts.json -o -
run eplb-gen --convert vllm-ascend.json --output_format sglang -o -
run eplb-gen --num_slots 6 --layer_updates_per_iter 2 --output_format sglang -o -
run eplb-gen --validate sglang.json --for sglang
run eplb-gen --validate sglang.json
run eplb-gen counts.json --convert trtllm.yaml -o -
run eplb-gen --for sglang --num_slots 6 --layer_updates_per_iter 2 -o -
# through a pipe; layers by their first
run "eplb-gen --convert trtllm.yaml --model_config config.json --output_format sglang -o - | eplb-gen --convert - --first_moe_layer 1 --config_format sglang -o - | diff trtllm.yaml -"
# what the engine is started with must fit the file
run eplb-gen --validate sglang.json --for sglang --model_config config.json --num_slots 8
cp sglang.json sglang.txt
run eplb-gen --validate sglang.txt --for sglang --model_config config.json --ep_size 2
# statistics that name their layers do not tell which others the model has: positions would shift
stats="$SOURCE/tests/data/formats/trtllm"
run "eplb-gen '$stats' --ep_size 2 --num_slots 10 --output_format vllm-ascend -o some.json"
run "eplb-gen '$stats' --ep_size 2 --num_slots 10 --output_format vllm-ascend --moe_layers 3,4,10 -o some.json"
run "eplb-gen '$stats' --ep_size 2 --num_slots 10 --output_format vllm-ascend --moe_layers 3,10 -o some.json 2> /dev/null; head -n 1 some.json"
# layers of multi-token prediction are in the yaml alone
run "eplb-gen --convert trtllm.yaml --moe_layers 1 --num_hidden_layers 2 --output_format sglang -o -"
# the config.json of another model, and one that would be written over
echo '{"model_type": "mixtral", "num_local_experts": 8, "num_experts_per_tok": 2, "num_hidden_layers": 3}' > mixtral.json
run eplb-gen counts.json --model_config mixtral.json --ep_size 2 --num_slots 6 -o -
run eplb-gen counts.json --model_config config.json --ep_size 2 --num_slots 6 -o config.json
# a layer of multi-token prediction takes part in nothing; one that is missing is no reason to shift others
run "eplb-gen '$stats' --moe_layers 3 --num_hidden_layers 10 --ep_size 2 --num_slots 10 --output_format vllm-ascend -o mtp.json"
run "grep -c device_count mtp.json"
# its routed ids lie beside the others', and are no reason to refuse them
run "eplb-gen '$stats' --moe_layers 3 --num_hidden_layers 10 --ep_size 2 --num_slots 10 --output_format vllm-ascend --algorithm risk --co_occurrence 0.5 -o mtp.json 2>&1 | tail -n 2"
printf 'num_slots: 4\ninitial_global_assignments: {4: [0,1,2,3], 6: [0,1,2,3]}\n' > gap.yaml
run eplb-gen --convert gap.yaml --first_moe_layer 3 --ep_size 2 --output_format vllm-ascend -o -
run eplb-gen --convert gap.yaml --model_config config.json --ep_size 2 --output_format vllm-ascend -o -
# where all layers have experts, SGLang's maps and hygon's older ones are the same
echo '{"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2, "num_hidden_layers": 2}' > mixtral.json
echo '{"physical_to_logical_map": [[0,1,2,3],[3,2,1,0]]}' > both.json
run eplb-gen --validate both.json --for hygon --model_config mixtral.json --ep_size 2
run eplb-gen --validate both.json --for sglang --model_config mixtral.json --ep_size 2
# --config_format is for maps that look alike: others are told from their content
printf '{"logical_count": [[9,3,2,2],[4,4,6,2]]}' > counts.json
printf 'num_slots: 4\ninitial_global_assignments: {0: [0,1,2,3], 1: [0,1,2,3]}\n' > same.yaml
run eplb-report counts.json --ep_size 2 --config_format sglang --projection_eplb_config_path both.json --projection_eplb_config_path same.yaml --format csv
