stats="$SOURCE/tests/data/formats/trtllm"
cat > even.yaml <<'YAML'
num_slots: 8
initial_global_assignments:
  3: [0, 4, 1, 5, 2, 6, 3, 7]
  10: [0, 7, 1, 6, 2, 5, 3, 4]
YAML
config='--projection_eplb_config_path even.yaml'
run eplb-report '$stats' '$stats' --iter_stop 100
run eplb-report '$stats' $config --view comparison
run eplb-report '$stats' $config --view comparison --format json
run eplb-report '$stats' '$stats' --view drift
run eplb-report '$stats' --view held_out --ep_size 2 --num_slots 10
run eplb-report '$stats' --view held_out $config --fit 98-101 --test 100-102
run eplb-report '$stats' --view worth
gpu='--gpu h200 --hidden_size 4096 --intermediate_size 1024'
run eplb-report '$stats' --view worth $config $gpu --moe_share 0.4 --tokens_per_second_per_rank 1500
run eplb-report '$stats' --view worth $gpu
run eplb-report '$stats' --iter_stop 100 $gpu
run eplb-report '$stats' $config --view comparison $gpu
run eplb-report '$stats' --view held_out $config --fit 98-101 --test 101-102 $gpu
run eplb-report '$stats' --view worth $config --moe_share 0.4
run eplb-report '$stats' --view comparison
run eplb-report '$stats' '$stats' $config $config
run eplb-report '$stats' --view drift
run eplb-report '$stats' --view held_out
run eplb-report '$stats' --view held_out --ep_size 2 --num_slots 10 --test 98-200
run eplb-report '$stats' --view worth --moe_share 0
run eplb-report '$stats' --view worth --per_expert
