run eplb-collect --help
run eplb-report --help
run eplb-gen --help
run eplb-report --version
run eplb-gen --num-slot
