muster_fuzz(idx LINKS muster_data)
muster_fuzz(csv LINKS muster_data)
muster_fuzz(bundle LINKS muster_tfio)
muster_fuzz(object_graph LINKS muster_ckpt)
