small="--preset mixtral-8x7b --num_layers 2 --hidden_size 16 --intermediate_size 4 --tokens_per_rank 8 --iter_range 10-12"
eplb-collect $small --expert_statistic_path good 2> /dev/null

# a stale file of a larger earlier run
cp -r good stale; cp good/rank7.safetensors stale/rank9.safetensors
run eplb-report stale
cp -r good lost; rm lost/rank7.safetensors
run eplb-report lost
cp -r good cut; head -c 500 good/rank3.safetensors > cut/rank3.safetensors
run eplb-report cut
cp -r good unfinished; rm unfinished/meta_info.json
run eplb-report unfinished
cp -r good empty_range; echo null > empty_range/meta_info.json
run eplb-report empty_range
run eplb-report good --iter_start 0 --iter_stop 5
mkdir empty
run eplb-report empty

eplb-collect $small --expert_statistic_path - 2> /dev/null > stream.jsonl
run "head -c 300 stream.jsonl | eplb-report -"
run "head -n 2 stream.jsonl | eplb-report -"
run "eplb-report - < /dev/null"
run "echo hello | eplb-report -"
eplb-report good > before
# files stay as they were when a later run cannot write
echo '{"input_ids":[1,2,3]}' > three_tokens.json
run "eplb-collect $small --dataset three_tokens.json --expert_statistic_path good 2>&1 | tail -n 1"
run "eplb-report good | diff before -"
