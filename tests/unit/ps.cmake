# The PS's buckets and how they are made; its protocol is in protocol.cmake, its threads in tests/cluster.
muster_test(test_ps_bucket SOURCES test_ps_bucket.c LINKS muster_ps)
muster_test(test_ps_snapshot SOURCES test_ps_snapshot.c LINKS muster_ps)
muster_test(test_ps_store SOURCES test_ps_store.c data_files.c LINKS muster_ps PkgConfig::ZLIB)
muster_test(test_ps_round_places SOURCES test_ps_round_places.c LINKS muster_ps)
muster_test(test_ps_round_calls SOURCES test_ps_round_calls.c ps_rounds_fixture.c rpc_frames.c rpc_stranger.c LINKS muster_ps)
muster_test(test_ps_round_serve SOURCES test_ps_round_serve.c LINKS muster_ps)
muster_test(test_ps_following SOURCES test_ps_following.c rpc_frames.c rpc_stranger.c LINKS muster_ps)
muster_test(test_ps_replication SOURCES test_ps_replication.c rpc_frames.c rpc_stranger.c LINKS muster_ps)
