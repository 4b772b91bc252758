models=$SOURCE/tests/data/models
echo '{"input_ids":[39,4,48]}' > dataset.json
run eplb-collect --model $models/mixtral
run eplb-collect --model missing --dataset dataset.json
run eplb-collect --model $models/mixtral --dataset missing.json
run eplb-collect --model $models/mixtral --dataset dataset.json --seed 3
run eplb-collect --dataset dataset.json --segment prompt
run eplb-collect --model $models/mixtral --dataset dataset.json --resume
run eplb-collect --model $models/mixtral --dataset dataset.json --resume --expert_statistic_path stats
run eplb-collect --model $models/mixtral --dataset dataset.json --state dataset.json
run eplb-collect --model $models/mixtral --dataset dataset.json --state missing/state
run cat dataset.json
run eplb-collect --model $models/mixtral --dataset dataset.json --ep_size 3
run eplb-collect --model $models/mixtral --dataset dataset.json --num_layers 9
run eplb-collect --model $models/mixtral --dataset dataset.json --segment output
run eplb-collect --model $models/mixtral --dataset dataset.json --iter_range 5-9
echo '{"prompt":"Good morning"}' > text.json
run eplb-collect --model $models/mixtral --dataset text.json
echo '{"input_ids":[99999]}' > large.json
run eplb-collect --model $models/mixtral --dataset large.json

# a checkpoint that is not whole; statistics that were there stay
mkdir broken
cp $models/mixtral/config.json $models/mixtral/model.safetensors.index.json broken
run eplb-collect --model broken --dataset dataset.json
cp $models/mixtral/model-00001-of-*.safetensors broken
run eplb-collect --model broken --dataset dataset.json
head -c 1000 $models/mixtral/model-00002-of-00002.safetensors > broken/model-00002-of-00002.safetensors
run eplb-collect --model broken --dataset dataset.json --expert_statistic_path stats
run ls
sed 's/"mixtral"/"llama"/' $models/mixtral/config.json > broken/config.json
run eplb-collect --model broken --dataset dataset.json
sed '/"num_local_experts"/d' $models/mixtral/config.json > broken/config.json
run eplb-collect --model broken --plan
