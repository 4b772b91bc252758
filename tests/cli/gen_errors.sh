stats="$SOURCE/tests/data/formats/trtllm"
run eplb-gen '$stats'
run eplb-gen -o out.yaml
run eplb-gen --num_slots 288 --layer_updates_per_iter 2 --ep_size 36 --fill_layers 61 -o out.yaml
run eplb-gen --num_slots 288 --layer_updates_per_iter 2 --ep_size 35 -o out.yaml
run eplb-gen '$stats' --num_slots 13 --ep_size 4 -o out.yaml
run eplb-gen '$stats' --num_slots 4 --ep_size 2 -o out.yaml
run eplb-gen '$stats' --algorithm best -o out.yaml
run eplb-gen '$stats' --algorithm greedy --num_nodes 2 -o out.yaml
run eplb-gen '$stats' --algorithm deepseek --ep_size 3 --num_slots 12 --num_nodes 2 -o out.yaml
run eplb-gen '$stats' --fill_layers 3-x -o out.yaml
run eplb-gen '$stats' -o missing/out.yaml
run eplb-gen '$stats' --algorithm greedy -o /dev/full
run ls
cp -r "$stats" copy; chmod -R u+w copy
run eplb-gen copy --num_slot 12 -o out.yaml
run eplb-gen copy -o copy/rank0.safetensors
run eplb-report copy/rank0.safetensors
run eplb-gen copy --iter_start '""' -o out.yaml

# slot ids are not experts
eplb-gen --num_slots 16 --layer_updates_per_iter 2 -o online.yaml
small="--preset mixtral-8x7b --num_layers 2 --hidden_size 16 --intermediate_size 4 --tokens_per_rank 8 --iter_range 0-2"
eplb-collect $small --load_balancer online.yaml --expert_statistic_path online 2> /dev/null
run eplb-gen online -o out.yaml
run eplb-gen online --load_balancer online.yaml -o out.yaml
eplb-collect $small --expert_statistic_path before 2> /dev/null
eplb-gen before --num_slots 16 -o static.yaml 2> /dev/null
eplb-collect $small --load_balancer static.yaml --expert_statistic_path after 2> /dev/null
run eplb-gen after -o out.yaml
run eplb-gen before --load_balancer static.yaml -o out.yaml
# folded back they are the experts' counts again
run "eplb-gen after --load_balancer static.yaml --num_slots 16 -o again.yaml 2> /dev/null"
# a default placement cannot be folded, nor what says that it holds experts
printf 'num_slots: 16\n' > default.yaml
eplb-collect $small --load_balancer default.yaml --expert_statistic_path default 2> /dev/null
run eplb-gen default --load_balancer default.yaml -o out.yaml
printf 'num_slots: 8\ninitial_global_assignments: {0: [1,0,2,3,4,5,6,7], 1: [0,1,2,3,4,5,6,7]}\n' > eight.yaml
run eplb-gen before --load_balancer eight.yaml -o out.yaml
run diff static.yaml again.yaml

# what cannot go together
run eplb-gen copy --weights 1,2 -o out.yaml
run eplb-gen copy --weights 0 -o out.yaml
run eplb-gen copy copy --weights 1,x -o out.yaml
run eplb-gen copy --ep_size 2,4 -o out.yaml
run eplb-gen copy --num_slots 8,16 -o out.yaml
run eplb-gen copy --algorithm greedy --survive_rank_loss -o out.yaml
run eplb-gen copy --survive_rank_loss --num_slots 8 -o out.yaml
run eplb-gen copy --survive_rank_loss --ep_size 1 --num_slots 16 -o out.yaml
run eplb-gen copy --gpu_speeds 1x2,0.5 -o out.yaml
run eplb-gen copy --gpu_speeds 1x0 -o out.yaml
run eplb-gen copy --gpu_speeds fast -o out.yaml
run eplb-gen copy --gpu_speeds=-1 -o out.yaml
run eplb-gen copy --num_nodes 3 -o out.yaml
run eplb-gen copy --num_nodes 2 --num_groups 3 -o out.yaml
run eplb-gen copy --tolerance nan -o out.yaml
run eplb-gen copy --time_limit 1e999 -o out.yaml
run eplb-gen copy --sweep -o out.yaml
run eplb-gen copy --sweep --ep_size 2
run eplb-gen copy --sweep --ep_size 3 --num_slots 8
run eplb-gen --sweep --ep_size 2 --num_slots 8
run eplb-gen copy --bytes_per_expert 5 -o out.yaml
run eplb-gen copy --sweep --ep_size 2 --num_slots 8 --model_config missing.json
printf '{"hidden_size": 8}' > config.json
run eplb-gen copy --sweep --ep_size 2 --num_slots 8 --model_config config.json
run eplb-gen copy --report_path out.yaml -o out.yaml
run eplb-gen copy --report_path missing/report.txt -o out.yaml
run eplb-gen copy --algorithm greedy --report_path /dev/full -o out.yaml
run eplb-gen copy --co_occurrence 1 --algorithm aggregated -o out.yaml
rm copy/token_selected_experts_rank*
run eplb-gen copy --co_occurrence 1 -o out.yaml
run eplb-gen copy --algorithm trtllm-cooccurrence -o out.yaml
run eplb-gen - - -o out.yaml
run eplb-gen copy before -o out.yaml
run eplb-gen copy missing -o out.yaml
run "ls out.yaml"
run eplb-gen --num_slots 288 --layer_updates_per_iter 2 --gpu_speeds 1x36 -o out.yaml
run eplb-gen copy --ep_size 2 --num_slots 16 --gpu_speeds 1,2 -o out.yaml
run eplb-gen copy --max_imbalance 0.1 --num_slots 9,11 -o out.yaml
eplb-collect $small --expert_statistic_path - > stream.jsonl 2> /dev/null
run eplb-gen stream.jsonl --num_slots 16 --co_occurrence 1 -o out.yaml
