# tokens of the test's own reference, whose choices no rounding can tip
cat > dataset.json << 'EOF'
{"input_ids":[39,4,48,41,52,10,52,31,26,35,17,37],"output_ids":[58,49,5,46,6]}
{"input_ids":[30,18,4,29,24,0],"output_ids":[58,11,48]}
{"input_ids":[29,15,33,39,52,26,25,46,50,8,45,61],"output_ids":[61,34]}
EOF
model="--model $SOURCE/tests/data/models/deepseek_v3 --dataset dataset.json --ep_size 2 --tokens_per_rank 8"

run eplb-collect '$model' --plan
run eplb-collect '$model'
run eplb-collect '$model' --expert_statistic_path stats --raw
run ls
run cat stats/meta_info.json
echo
run eplb-report stats
run eplb-report stats --per_expert

# limits and threads change nothing
run eplb-collect '$model' --expert_statistic_path cut --raw --max_num_tokens 5 --threads 3
run diff -r stats cut
run "eplb-collect $model --expert_statistic_path - 2> /dev/null | eplb-report - > stream.txt"
run "eplb-report stats | diff - stream.txt"

# prompts are prefilled 8 tokens a rank at a time, outputs decoded one of each request
run eplb-collect '$model' --segment prompt --expert_statistic_path prompt
run eplb-collect '$model' --segment output --expert_statistic_path output
run EXPERT_STATISTIC_PATH=part EXPERT_STATISTIC_ITER_RANGE=1-3 eplb-collect '$model'
run "eplb-report part --format json | grep iter_"

# static and online EPLB
run 'eplb-gen stats --num_slots 20 --output_path static.yaml 2> /dev/null'
run eplb-collect '$model' --load_balancer static.yaml --expert_statistic_path after
run 'eplb-report after --load_balancer static.yaml --view experts --format csv | cut -d, -f1-5 > folded.csv'
run 'eplb-report stats --view experts --format csv | cut -d, -f1-5 | diff - folded.csv'
run eplb-gen --num_slots 20 --layer_updates_per_iter 1 --output_path online.yaml
run eplb-collect '$model' --load_balancer online.yaml --expert_statistic_path online
