stats="$SOURCE/tests/data/formats/trtllm"
cat > eplb.yaml <<'END'
num_slots: 12
initial_global_assignments:
  3: [0, 1, 2, 3, 4, 4, 4, 5, 6, 7, 0, 0]
  10: [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3]
END
cat > twice.yaml <<'END'
num_slots: 16
initial_global_assignments:
  3: [0, 1, 2, 3, 4, 5, 6, 7, 7, 6, 5, 4, 3, 2, 1, 0]
  10: [0, 1, 2, 3, 4, 5, 6, 7, 7, 6, 5, 4, 3, 2, 1, 0]
END
printf '%s\n' '{"format":"eplb-statistics","version":1,"num_experts":4,"top_k":2,"ep_size":2,"layers":[3],"iter_start":100}' \
    '{"iteration":100,"layer":3,"counts":[[1,0,2,1],[0,2,1,1]]}' '{"end":true,"num_iterations":1}' > stream
mkdir counts && cp "$stats"/meta_info.json "$stats"/rank?.safetensors counts

run eplb-report '$stats' --view traffic
run eplb-report '$stats' --view traffic --projection_eplb_config_path eplb.yaml --ep_size 2 --num_nodes 2 --bytes_per_token 4096
run eplb-report '$stats' --view traffic --projection_eplb_config_path eplb.yaml --ep_size 4 --layers 3 --format csv
run eplb-report '$stats' --view rank_traffic
run eplb-report '$stats' --view rank_traffic --projection_eplb_config_path eplb.yaml --ep_size 4 --layers 10 --iter_stop 100
run eplb-report '$stats' --view faults
run eplb-report '$stats' --view faults --projection_eplb_config_path eplb.yaml --ep_size 4
run eplb-report '$stats' --view faults --projection_eplb_config_path twice.yaml --ep_size 4
run eplb-report '$stats' --view faults --projection_eplb_config_path eplb.yaml --ep_size 4 --num_nodes 2

run eplb-report counts --view traffic
run eplb-report stream --view rank_traffic
run eplb-report '- --view traffic < stream'
run eplb-report '$stats' --view traffic --num_nodes 3
run eplb-report '$stats' --view faults --per_expert
run eplb-report '$stats' --view traffic --equal_split
