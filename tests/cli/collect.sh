small="--preset mixtral-8x7b --num_layers 3 --hidden_size 16 --intermediate_size 4 --tokens_per_rank 16"

# nothing is recorded unless somebody asks
run eplb-collect '$small' --iterations 2
run ls

# upstream's variables, the folder's default name, and flags before variables
run EXPERT_STATISTIC_ITER_RANGE=1-3 eplb-collect '$small'
run ls expert_statistic
run cat expert_statistic/meta_info.json
echo
run EXPERT_STATISTIC_PATH=there EXPERT_STATISTIC_ITER_RANGE=0-2 eplb-collect '$small' --iter_range 2-4
run "eplb-report there --format json | grep iter_"
run EXPERT_STATISTIC_PATH=there EXPERT_STATISTIC_ITER_RANGE=0-2 eplb-collect '$small' --expert_statistic_path here --iterations 4
run "eplb-report here --format json | grep iter_"

# static and online EPLB; a result that chunks and threads leave alone
run 'eplb-gen here --num_slots 16 --output_path static.yaml 2> /dev/null'
run eplb-collect '$small' --load_balancer static.yaml --expert_statistic_path after --iter_range 0-2 --check
run cat after/meta_info.json
echo
run eplb-collect '$small' --load_balancer static.yaml --expert_statistic_path again --iter_range 0-2 --max_num_tokens 20 --threads 3
run diff -r after again
run eplb-gen --num_slots 16 --layer_updates_per_iter 2 --output_path online.yaml
run eplb-collect '$small' --load_balancer online.yaml --iterations 6
echo 'moe_config: {backend: WIDEEP, max_num_tokens: 40, load_balancer: static.yaml}' > options.yaml
run eplb-collect '$small' --extra_llm_api_options options.yaml --expert_statistic_path options --iter_range 0-2 --raw
run diff -r after options

# a dataset that ends before the range does
echo '{"task_id":0,"input_ids":[1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18],"output_tokens":1}' > dataset.json
run eplb-collect '$small' --dataset dataset.json --expert_statistic_path short --iter_range 0-9
run "eplb-report short --format json | grep iter_"
