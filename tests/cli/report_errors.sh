stats="$SOURCE/tests/data/formats/trtllm"
run eplb-report
run eplb-report missing
run eplb-report '$stats' --format xml
run eplb-report '$stats' --no-such-flag
run eplb-report '$stats' --layers 1,99
run eplb-report '$stats' --layers 5-1
run eplb-report '$stats' --iter_start 7 --iter_stop 7
run eplb-report '$stats' --iter_start 1000
run eplb-report '$stats' --ep_size 0
run eplb-report '$stats' --ep_size 5
run eplb-report '$stats' --ep_size 2 --per_expert
run eplb-report '$stats' -o missing/report.txt
run eplb-report '$stats' -o /dev/full
run "eplb-report '$stats' > /dev/full"
run eplb-report '$stats' --projection_eplb_config_path missing.yaml
printf 'num_slots: 12\ninitial_global_assignments:\n  0: [0, 1]\n' > bad.yaml
run eplb-report '$stats' --projection_eplb_config_path bad.yaml
run eplb-report '$stats' --sort no_such_column
run eplb-report '$stats' --digits 18
run eplb-report '$stats' --top 0
run eplb-report '$stats' --fit 98-100
run eplb-report '$stats' '$stats' '$stats' --view worth
run eplb-report - -
run eplb-report '$stats' --equal_split
eplb-gen "$stats" --num_slots 10 -o ten.yaml 2> /dev/null
run eplb-report ten.yaml
run eplb-report '$stats' '$stats' --load_balancer ten.yaml
run eplb-gen --num_slots 10 --layer_updates_per_iter 2 -o online.yaml
run eplb-report '$stats' --projection_eplb_config_path online.yaml
# the gate: above it, and where nothing was held out for sure
run "eplb-report $stats --max_imbalance 0.01 > /dev/null"
run "eplb-report $stats --max_imbalance 1 > /dev/null"
run "eplb-report $stats --view held_out --projection_eplb_config_path ten.yaml --ep_size 2 --max_imbalance 1 > /dev/null"
