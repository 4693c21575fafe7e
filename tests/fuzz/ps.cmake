muster_fuzz(followers LINKS muster_ps)
