stats="$SOURCE/tests/data/formats/trtllm"
printf 'num_slots: 12\ninitial_global_assignments:\n  3: [0,1,2,3,4,5,6,7,0,1,2,3]\n' > now.yaml

# what is in force, and what to go over to
run eplb-gen '$stats' --ep_size 3 --current now.yaml -o full.yaml
run cat full.yaml
run eplb-gen '$stats' --ep_size 3 --current now.yaml --max_moves 3 -o few.yaml --report_path few.csv --format csv --bytes_per_expert 44e6
run cat few.yaml few.csv
run eplb-gen '$stats' --ep_size 3 --current now.yaml --max_moves 0 -o none.yaml
run cat none.yaml
# again it is as good as it gets
run eplb-gen '$stats' --ep_size 3 --current full.yaml -o again.yaml
run diff full.yaml again.yaml
# the same whatever the number of threads
run "eplb-gen '$stats' --ep_size 3 --current now.yaml --max_moves 3 --threads 3 -o three.yaml 2> /dev/null"
run diff few.yaml three.yaml

# layers that the statistics lack stay, and others are filled
printf 'num_slots: 12\ninitial_global_assignments: {3: [0,1,2,3,4,5,6,7,0,1,2,3], 90: [7,6,5,4,3,2,1,0,7,6,5,4]}\n' > more.yaml
run eplb-gen '$stats' --ep_size 3 --current more.yaml --max_moves 0 --fill_layers 90,91 -o kept.yaml
run "grep '  9' kept.yaml"

# what cannot be
run eplb-gen '$stats' --max_moves 3 -o out.yaml
run eplb-gen '$stats' --current now.yaml --max_moves -1 -o out.yaml
run eplb-gen '$stats' --current now.yaml --sweep --ep_size 3 --num_slots 12
run eplb-gen '$stats' --current now.yaml --max_imbalance 0.1 -o out.yaml
run eplb-gen --current now.yaml --num_slots 12 --layer_updates_per_iter 2 -o out.yaml
run eplb-gen '$stats' --current now.yaml --max_moves 3 --co_occurrence 1 -o out.yaml
run eplb-gen '$stats' --ep_size 3 --num_slots 15 --current now.yaml -o out.yaml
run eplb-gen '$stats' --ep_size 5 --current now.yaml -o out.yaml
run eplb-gen '$stats' --ep_size 3 --current now.yaml -o now.yaml
run eplb-gen '$stats' --ep_size 3 --current missing.yaml -o out.yaml
printf 'num_slots: 12\ninitial_global_assignments: {3: [0,1,2,3,4,5,6,7,8,9,10,11]}\n' > other_model.yaml
run eplb-gen '$stats' --ep_size 3 --current other_model.yaml -o out.yaml
printf 'num_slots: 12\nlayer_updates_per_iter: 1\n' > online.yaml
run eplb-gen '$stats' --ep_size 3 --current online.yaml -o out.yaml
run eplb-gen '$stats' --ep_size 3 --current now.yaml --max_moves 3 --survive_rank_loss --num_slots 18 -o out.yaml
printf 'num_slots: 18\ninitial_global_assignments: {3: [0,1,2,3,4,5,6,7,0,1,2,3,0,1,2,3,0,1]}\n' > single.yaml
run eplb-gen '$stats' --ep_size 3 --current single.yaml --max_moves 3 --survive_rank_loss -o out.yaml
run ls '*.yaml'

# a map of another engine in force, with layers that the statistics lack: they stay as they are
python3 -c 'import json; print(json.dumps({"physical_to_logical_map": [[i % 8 for i in range(12)]] + [[7 - i % 8 for i in range(12)]] * 10}))' > map.json
run eplb-gen '$stats' --ep_size 3 --current map.json --max_moves 2 --output_format sglang -o new.json
run eplb-gen '$stats' --ep_size 3 --current map.json --moe_layers 1-10 --max_moves 2 --output_format sglang -o new.json
run "head -n 3 new.json"
