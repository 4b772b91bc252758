# Ctrl-C ends the run after the current iteration, and what was recorded is written
eplb-collect --preset mixtral-8x7b --num_layers 2 --tokens_per_rank 8 \
    --expert_statistic_path stats --iter_range 0-100000000 2> log &
pid=$!
until [ -d stats ]; do sleep 0.1; done
sleep 1
kill -INT $pid
wait $pid
echo "exit $?"
grep -c 'warning: recorded .* of 100000000 iterations: the run ended after .* iterations, since it was interrupted' log
run 'ls stats | wc -l'
eplb-report stats > report && echo "the folder is whole"

# under nohup a hang-up does not end it
nohup eplb-collect --preset mixtral-8x7b --num_layers 2 --tokens_per_rank 8 \
    --expert_statistic_path detached --iter_range 0-100000000 2> log &
pid=$!
until [ -d detached ]; do sleep 0.1; done
sleep 1
kill -HUP $pid
sleep 0.5
kill -0 $pid && echo "still running"
kill -INT $pid
wait $pid
echo "exit $?"
