run eplb-collect --help
run eplb-report --help
run eplb-gen --help
run eplb-report --version
