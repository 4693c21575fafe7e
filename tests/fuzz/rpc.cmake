muster_fuzz(frame LINKS muster_rpc)
muster_fuzz(messages LINKS muster_wire)
muster_fuzz(address LINKS muster_http muster_rpc)
