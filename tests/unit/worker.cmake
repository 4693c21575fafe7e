# The worker's view of the map, and its exchange; its protocol is in protocol.cmake, its loops in tests/cluster.
muster_test(test_worker_layout SOURCES test_worker_layout.c LINKS muster_worker)
muster_test(test_worker_exchange_rpc SOURCES test_worker_exchange_rpc.c rpc_frames.c rpc_stranger.c LINKS muster_worker)
muster_test(test_worker_role_watch SOURCES test_worker_role_watch.c rpc_frames.c rpc_stranger.c LINKS muster_worker)
muster_test(test_worker_joining SOURCES test_worker_joining.c rpc_frames.c rpc_stranger.c LINKS muster_worker)
muster_test(test_worker_accumulator SOURCES test_worker_accumulator.c LINKS muster_worker)
