small="--preset mixtral-8x7b --num_layers 2 --hidden_size 16 --intermediate_size 4 --tokens_per_rank 8 --iter_range 10-12"
eplb-collect $small --expert_statistic_path folder 2> /dev/null

# a stream holds what a folder holds, and stdout carries nothing else
run "eplb-collect $small --expert_statistic_path - 2> /dev/null | tee stats.jsonl | eplb-report - > from_stream"
run "eplb-report folder > from_folder"
run diff from_stream from_folder
run "head -n 1 stats.jsonl"
run "tail -n 1 stats.jsonl"
run "eplb-gen folder --num_slots 16 -o a.yaml 2> /dev/null"
run "eplb-gen --expert_statistic_path - --num_slots 16 -o - < stats.jsonl > b.yaml 2> /dev/null"
run diff a.yaml b.yaml
run "eplb-report stats.jsonl --iter_start 11 --format json | grep iter_"
run ls
