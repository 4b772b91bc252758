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
run eplb-report '$stats' --precision 18
run eplb-report '$stats' --top 0
