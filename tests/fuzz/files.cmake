muster_fuzz(idx LINKS muster_data)
