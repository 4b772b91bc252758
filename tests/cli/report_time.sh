# made from t0 20 us, 10 us for the weights and 0.1 us for a row: 20 + experts * max(10, 0.1 * rows)
cat > table.csv <<'CSV'
rows,experts,time_us
1,1,30
64,4,60
400,2,60
800,2,100
4000,4,420
CSV
shape='--hidden_size 1000 --intermediate_size 500'
run eplb-report --fit_time_profile table.csv $shape --bytes_per_weight 1
run "printf 'expert_rows,time_us\n1 0,30\n200,55\n200 2,50\n50 400,70\n9 9 9,90\n' | eplb-report --fit_time_profile - \$shape -o profile.json"
run cat profile.json
run eplb-report --fit_time_profile table.csv
run eplb-report --fit_time_profile table.csv $shape --ep_size 4
cat > few_rows.csv <<'CSV'
rows,experts,time_us
1,1,30
64,4,60
160,2,40
400,8,100
CSV
run eplb-report --fit_time_profile few_rows.csv $shape
sed 's/420/420 us/' table.csv > units.csv
run eplb-report --fit_time_profile units.csv $shape
run eplb-report --fit_time_profile missing.csv $shape
