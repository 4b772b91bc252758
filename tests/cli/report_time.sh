# made from t0 20 us, 10 us for the weights and 0.1 us for a row: 20 + experts * max(10, 0.1 * rows)
cat > table.csv <<'CSV'
rows,experts,time_us
1,1,30
64,4,60
400,2,60
800,2,100
4000,4,420
CSV
shape='--hidden_size 1000 --intermediate_size 500'
run eplb-report --fit_time_profile table.csv $shape --bytes_per_weight 1
run "printf 'expert_rows,time_us\n1 0,30\n200,55\n200 2,50\n50 400,70\n9 9 9,90\n' | eplb-report --fit_time_profile - \$shape -o profile.json"
run cat profile.json
run eplb-report --fit_time_profile table.csv
run eplb-report --fit_time_profile table.csv $shape --ep_size 4
cat > few_rows.csv <<'CSV'
rows,experts,time_us
1,1,30
64,4,60
160,2,40
400,8,100
CSV
run eplb-report --fit_time_profile few_rows.csv $shape
sed 's/420/420 us/' table.csv > units.csv
run eplb-report --fit_time_profile units.csv $shape
run eplb-report --fit_time_profile missing.csv $shape
stats="$SOURCE/tests/data/formats/trtllm"
cat > even.yaml <<'YAML'
num_slots: 10
initial_global_assignments:
  3: [0, 4, 1, 5, 2, 6, 3, 7, 0, 1]
  10: [0, 7, 1, 6, 2, 5, 3, 4, 0, 1]
YAML
cat > mine.json <<'JSON'
{"format": "eplb-time-profile", "version": 1, "t0_us": 20, "bytes_per_second": 1e12, "flop_per_second": 1e15}
JSON
run eplb-report '$stats' --view time --gpu h200 $shape --bytes_per_weight 2 --format csv
run eplb-report '$stats' --view time --time_profile mine.json $shape
run eplb-report '$stats' --view time --time_profile mine.json $shape --projection_eplb_config_path even.yaml --format json
run eplb-report '$stats' --view time --time_profile mine.json $shape --layers 3 --max_time 20
run eplb-report '$stats' --view time
run eplb-report '$stats' --view time --gpu h200
run eplb-report '$stats' --view time --gpu h300 $shape
run eplb-report '$stats' --view time --gpu h200 --time_profile mine.json $shape
run eplb-report '$stats' --view ranks --gpu h200 $shape
run eplb-report '$stats' --view time --time_profile table.csv $shape
run eplb-report '$stats' --view time --gpu h200 --model_config '$SOURCE/data/models/mixtral-8x7b' --moe_layers 3,10 -o time.txt
run eplb-report '$stats' --view time --time_profile mine.json $shape --tokens_per_rank 1
run eplb-report '$stats' --view time --time_profile mine.json $shape --tokens_per_rank 3 --projection_eplb_config_path even.yaml --ep_size 2
run eplb-report '$stats' --view time --time_profile mine.json $shape --tokens_per_rank 4 --iter_stop 100
run eplb-report '$stats' --view time --time_profile mine.json $shape --tokens_per_rank 5
printf '{"logical_count": [[900, 100, 200, 400], [300, 500, 600, 200]]}' > sum.json
run eplb-report sum.json --moe_layers 0,1 --ep_size 2 --view time --time_profile mine.json $shape
run eplb-report sum.json --moe_layers 0,1 --ep_size 2 --view time --time_profile mine.json $shape --tokens_per_rank 8
run eplb-report sum.json --moe_layers 0,1 --ep_size 2 --tokens_per_rank 8
