stats="$SOURCE/tests/data/formats/trtllm"
# what upstream places, and what it is worth
run eplb-gen '$stats' --algorithm greedy --output_path -
run eplb-gen '$stats' --algorithm greedy --num-slots 12 --ep-size 3 -o a.yaml
run cat a.yaml
run eplb-report '$stats' --projection_eplb_config_path a.yaml --ep_size 3
run eplb-gen --expert_statistic_path '$stats' --num_slots 12 --ep_size 3 --algorithm deepseek --fill_layers 9-10 -o -
run eplb-gen --num_slots 288 --layer_updates_per_iter 2 -o -
