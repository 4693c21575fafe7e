muster_fuzz(metrics_text LINKS muster_cli)
