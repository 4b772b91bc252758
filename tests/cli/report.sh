stats="$SOURCE/tests/data/formats/trtllm"
run eplb-report '$stats'
run eplb-report --expert-statistic-path '$stats' --per_expert --format csv
run eplb-report '$stats' --format json
run eplb-report '$stats' --format md
run eplb-report '$stats' --ep_size 1
run eplb-report '$stats' --sort -imbalance_ratio --top 1 --digits 2
run eplb-report '$stats' --sort imbalance_ratio --top 1 --digits 2 --format csv
