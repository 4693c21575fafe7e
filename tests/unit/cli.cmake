# The command: what can be tried without a cluster; tests/cluster/test_local.py has the rest.
foreach(file child_process completion drain_request failure_text local_cluster log_follow metrics_text options predictions progress progress_pipe progress_view result_text resharding run_lock subcommands supervision tensor_difference top_view)
    muster_test(test_cli_${file} SOURCES test_cli_${file}.c LINKS muster_cli)
endforeach()
