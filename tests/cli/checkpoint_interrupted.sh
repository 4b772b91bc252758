# Ctrl-C ends the run within its layer; --resume goes on from there to the same statistics
for i in $(seq 2500); do
    echo '{"input_ids":[40,53,9,18,4,58,2,47,37,49,34,10,49,50,24,2,46,10,56,11,22,40,35,23]}'
done > dataset.json
model="--model $SOURCE/tests/data/models/deepseek_v3 --dataset dataset.json --ep_size 2 --tokens_per_rank 64"
eplb-collect $model --expert_statistic_path stats 2> log &
pid=$!
until [ -e stats.state ]; do sleep 0.01; done
kill -INT $pid
wait $pid
echo "exit $?"
grep -c 'warning: interrupted in layer [12]; run again with --resume to go on from layer [12] (stats.state)' log
run ls stats stats.state
run eplb-collect '$model' --resume --expert_statistic_path stats --raw
eplb-collect $model --resume --expert_statistic_path stats 2> log
echo "exit $?"
grep -c 'resumed at layer [12]' log
run ls
eplb-collect $model --expert_statistic_path whole 2> /dev/null
run diff -r stats whole

# so does a run that was killed
eplb-collect $model --expert_statistic_path killed 2> log &
pid=$!
until [ -e killed.state ]; do sleep 0.01; done
kill -KILL $pid
wait $pid 2> /dev/null
echo "exit $?"
eplb-collect $model --resume --expert_statistic_path killed 2> log
echo "exit $?"
run diff -r killed whole
