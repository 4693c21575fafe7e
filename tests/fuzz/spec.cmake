muster_fuzz(tf_config LINKS muster_spec)
muster_fuzz(job LINKS muster_spec)
muster_fuzz(model_json LINKS muster_model)
