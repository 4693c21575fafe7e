muster_fuzz(metrics_text LINKS muster_cli)
muster_fuzz(drain LINKS muster_cli)
