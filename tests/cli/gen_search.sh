# eight iterations of a small model, two kinds of traffic
model="--preset mixtral-8x7b --num_layers 2 --hidden_size 16 --intermediate_size 4"
eplb-collect $model --tokens_per_rank 64 --iter_range 0-8 --raw --expert_statistic_path first 2> /dev/null
eplb-collect $model --tokens_per_rank 64 --iter_range 8-16 --raw --seed 1 --expert_statistic_path second 2> /dev/null

# figures differ with what the model routes; the lines say what they are
run "eplb-gen first --num_slots 16 -o a.yaml 2>&1 | sed -E 's/[0-9]+\.[0-9]+/N/g; s/[0-9]+ % (lower|higher)/P/g; s/layer [0-9]/layer L/g'"
run "eplb-gen first --num_slots 16 -o b.yaml --threads 1 2> /dev/null"
run diff a.yaml b.yaml
run "eplb-gen first second --weights 2,1 --robust worst --num_slots 16 -o c.yaml --report_path report.json --format json 2>&1 | sed -E 's/ [0-9]+\.[0-9]+/ N/g; s/[0-9]+ % (lower|higher)/P/g; s/layer [0-9]/layer L/g; s/  +/ /g'"
run "grep -c '\"layer\"' report.json"
run "head -n 1 c.yaml; grep num_slots c.yaml"
run "eplb-gen first --num_slots 16 --survive_rank_loss -o d.yaml 2>&1 | tail -n 1"
run "eplb-gen first --ep_size 4 --num_nodes 2 --num_slots 16 -o e.yaml 2>&1 | tail -n 1"
run "eplb-gen first --num_slots 16 --ep_size 4 --gpu_speeds 1x3,0.5 -o f.yaml 2>&1 | tail -n 1"
run "eplb-gen first --num_slots 16 --co_occurrence 0.5 -o g.yaml 2>&1 | tail -n 1 | sed -E 's/[0-9]+\.[0-9]+/N/g'"
run "eplb-gen first --num_slots 16 --time_limit 0.1 -o h.yaml 2>&1 | tail -n 1"
run "eplb-gen first --algorithm trtllm-cooccurrence --num_slots 16 -o i.yaml 2>&1 | sed -n 1p"

# a sweep writes a table and nothing else
run "eplb-gen first --sweep --ep_size 2,4,8 --num_slots 8,12,16 --bytes_per_expert 1073741824 --format csv 2> /dev/null | cut -d , -f 1-3,7"
run "eplb-gen first --max_imbalance 100 --ep_size 4 -o j.yaml 2>&1 | sed -n 1,2p | sed -E 's/[0-9]+\.[0-9]+/N/g'"
run "eplb-gen first --max_imbalance 0 --ep_size 4 -o k.yaml 2>&1 | sed -E 's/[0-9]+\.[0-9]+/N/g'"
run "eplb-gen first --max_imbalance 0 --ep_size 4 -o k.yaml 2> /dev/null"

# one sum predicts nothing
run "eplb-gen first --iter_stop 1 --num_slots 16 -o l.yaml 2>&1 | sed -E 's/[0-9]+\.[0-9]+/N/g; s/layer [0-9]/layer L/g'"
run "ls"
