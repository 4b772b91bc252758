small="--preset mixtral-8x7b --hidden_size 16 --intermediate_size 4"
run eplb-collect --preset gpt-5
run eplb-collect '$small' --num_layers 99
run eplb-collect --hidden_size 8
run eplb-collect '$small' --ep_size 3
run eplb-collect '$small' --ep_size 0
run eplb-collect '$small' --iter_range 5-5
run eplb-collect '$small' --iter_range 100
run eplb-collect '$small' --iter_range 1-2-3
run EXPERT_STATISTIC_ITER_RANGE=a-b eplb-collect '$small'
mkdir old && touch old/rank_old.safetensors
run eplb-collect '$small' --expert_statistic_path old
run EXPERT_STATISTIC_ITER_RANGE='" 1_0 - 2 "' eplb-collect '$small'
run eplb-collect '$small' --iterations 3 --iter_range 5-7 --expert_statistic_path stats
run ls
run eplb-collect '$small' --expert_statistic_path /dev/null/stats
run eplb-collect '$small' --expert_statistic_path - --raw
run eplb-collect '$small' --raw
run eplb-collect '$small' --expert_statistic_path stats --ep_size 1048576 --tokens_per_rank 1048576
run eplb-collect '$small' --seed -1
run eplb-collect '$small' --tokens_per_rank 3000000000
run eplb-collect '$small' --dataset missing.json
run eplb-collect '$small' --load_balancer missing.yaml
printf 'num_slots: 12\nlayer_updates_per_iter: 0\n' > twelve.yaml
run eplb-collect '$small' --load_balancer twelve.yaml
run eplb-collect '$small' --ep_size 4 --load_balancer twelve.yaml --iterations 1
run eplb-collect '$small' --load_balancer twelve.yaml --extra_llm_api_options twelve.yaml
