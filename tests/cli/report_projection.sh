stats="$SOURCE/tests/data/formats/trtllm"
# experts 0 and 5 have two replicas in layer 3, 1 and 2 in layer 10
printf 'initial_global_assignments:\n  3: [0, 5, 1, 2, 3, 4, 5, 6, 7, 0]\n  10: [7, 2, 1, 0, 3, 4, 6, 1, 2, 5]\nlayer_updates_per_iter: 0\nnum_slots: 10\n' > eplb.yaml
printf 'num_slots: 8\ninitial_global_assignments:\n  10: [7, 2, 1, 0, 3, 4, 6, 5]\n' > only_10.yaml
run eplb-report '$stats' --projection_eplb_config_path eplb.yaml
run eplb-report '$stats' --projection_eplb_config_path eplb.yaml --equal_split --ep_size 2
run eplb-report '$stats' --projection_eplb_config_path eplb.yaml --ep_size 5 --format json
run eplb-report '$stats' --projection_eplb_config_path eplb.yaml --per_expert --format csv
run eplb-report '$stats' --projection_eplb_config_path only_10.yaml --ep_size 2
run eplb-report '$stats' --projection_eplb_config_path only_10.yaml --ep_size 2 --layers 10
run eplb-report '$stats' --projection_eplb_config_path eplb.yaml --ep_size 3
run eplb-report '$stats' --projection_eplb_config_path eplb.yaml --layers 10-12
